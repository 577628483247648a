from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiervec.errors import InvalidArgumentError, NotFoundError, PermissionDeniedError
from tiervec.rpc.credentials import Credentials
from tiervec.rpc.tokens import Tokens, _parse, read_token_file

WRITE, READ = "the-write-token-0001", "the-read-token-00002"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (WRITE, None),
        (f"{WRITE}\n{READ}\n", READ),
        (f"read={READ}\nwrite={WRITE}\n", READ),
        (f"# for the cluster\n\nwrite={WRITE}\n", None),
    ],
)
def test_forms_of_the_file(tmp_path: Path, text: str, read: str | None) -> None:
    path = tmp_path / "tokens"
    path.write_text(text)
    tokens = read_token_file(path)
    assert (tokens.write, tokens.read) == (WRITE, read)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has 0 tokens"),
        ("# only a comment\n", "has 0 tokens"),
        (f"{WRITE}\n{READ}\n{WRITE}x\n", "has 3 tokens"),
        ("short", "write token that is shorter than 16"),
        ("with spaces in the middle of it", "holds spaces"),
        (f"write={WRITE}\nwrite={READ}", "two write tokens"),
        (f"{WRITE}\n{WRITE}", "the same token twice"),
        ("x" * 5000, "more than 4096 bytes"),
        ("tökentökentökentöken", "not ASCII"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_not_shown(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidArgumentError, match=words) as caught:
        read_token_file(path)
    assert str(path) in str(caught.value)
    for secret in (WRITE, READ, "with spaces", "tökentöken", "short\n"):
        assert secret not in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"token file .*none does not exist"):
        read_token_file(tmp_path / "none")
    with pytest.raises(InvalidArgumentError, match=r"reading token file .* failed: Is a directory"):
        read_token_file(tmp_path)


@pytest.mark.parametrize(
    ("mode", "whom"),
    [(0o644, "every user"), (0o602, "every user"), (0o640, "users of its group"), (0o620, "users of its group")],
)
def test_a_file_that_others_can_read_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, whom: str
) -> None:
    path = tmp_path / "tokens"
    path.write_text(WRITE)
    path.chmod(mode)
    with caplog.at_level(logging.WARNING):
        read_token_file(path)
    assert f"token file {path} is open to " in caplog.text
    assert whom in caplog.text
    assert "chmod 600" in caplog.text
    assert WRITE not in caplog.text


def test_who_may_do_what() -> None:
    tokens = Tokens(write=WRITE, read=READ)
    tokens.check(WRITE, to_write=True)
    tokens.check(WRITE, to_write=False)
    tokens.check(READ, to_write=False)
    with pytest.raises(PermissionDeniedError, match="grants reading only"):
        tokens.check(READ, to_write=True)
    for given_token in ("wrong", "", WRITE + "x", WRITE[:-1]):
        with pytest.raises(PermissionDeniedError, match="not one of this memory node's"):
            tokens.check(given_token, to_write=False)
    with pytest.raises(PermissionDeniedError, match="shows no token"):
        tokens.check(None, to_write=False)


def test_a_missing_token_is_not_the_empty_one() -> None:
    for tokens in (Tokens(write=WRITE, read=None), Tokens(write=None, read=READ)):
        with pytest.raises(PermissionDeniedError):
            tokens.check("", to_write=True)


def test_secrets_are_not_printed(token_file: Path) -> None:
    tokens = read_token_file(token_file)
    for shown in (repr(tokens), str(tokens), repr(Credentials(tokens=tokens))):
        assert "token-0" not in shown


def test_credentials_from_the_environment(token_file: Path) -> None:
    both = Credentials.from_environment({"TIERVEC_TOKEN_FILE": str(token_file)})
    assert both.metadata(to_write=True) == [("authorization", f"Bearer {WRITE}")]
    assert both.metadata(to_write=False) == [("authorization", f"Bearer {READ}")]
    one = Credentials.from_environment({"TIERVEC_TOKEN": READ + "\n"})
    assert one.metadata(to_write=False) == one.metadata(to_write=True) == [("authorization", f"Bearer {READ}")]
    assert Credentials.from_environment({"TIERVEC_CA": ""}).metadata(to_write=True) == []
    with pytest.raises(InvalidArgumentError, match="are both set"):
        Credentials.from_environment({"TIERVEC_TOKEN": READ, "TIERVEC_TOKEN_FILE": str(token_file)})
    with pytest.raises(InvalidArgumentError, match="need TIERVEC_CA"):
        Credentials.from_environment({"TIERVEC_CERT": "a.pem"})


@given(st.binary(max_size=200))
def test_any_bytes_are_tokens_or_a_sentence(data: bytes) -> None:
    refusal = ""
    try:
        tokens = _parse(data)
    except InvalidArgumentError as error:
        refusal = str(error)
    if refusal:
        assert "\n" not in refusal
    else:
        assert tokens.write or tokens.read
