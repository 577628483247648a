"""The gRPC server below `tiervec serve` and `tiervec memory-node`.

    call -> token -> message -> place -> thread -> response
            (headers) (pending_reads) (lanes)

A call takes a thread only once it may be made and its message is there; until then it is a few objects on the event
loop. Health and reflection take no thread at all, and every step has bounds of its own, per client and in total.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

from tiervec.errors import InvalidArgumentError, TiervecError
from tiervec.rpc.answering import status_of
from tiervec.rpc.call import Call
from tiervec.rpc.event_loop import event_loop, run_on_loop
from tiervec.rpc.health import Health
from tiervec.rpc.lanes import Lane
from tiervec.rpc.limits import CallLimits, PeerCount
from tiervec.rpc.listening import TlsFiles, bind
from tiervec.rpc.pending_reads import PendingReads

__all__ = ["MessageSink", "RpcServer"]

Result = TypeVar("Result")
#: Takes gRPC's context and returns the response; None for a method that sends a stream.
Behaviour = Callable[[Any], Awaitable["bytes | None"]]
# Of one client more than the streams of a connection: a burst of calls is no flood.
_STREAMS_PER_CONNECTION: Final = 128
_PENDING_PER_PEER: Final = 256
_PENDING: Final = 1024
_FLUSH_S: Final = 1.0  # what the last responses get to leave, at a stop
_MAX_UNSENT_STREAMS: Final = 4  # reflection streams of one client whose answers it does not read
_MAX_UNREAD_BYTES: Final = 256 << 20  # responses that clients have not read; of one client three quarters
_HEALTH: Final = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name


class MessageSink(Protocol):
    """What a method whose client sends a stream returns; its methods run in threads, one after another."""

    def take(self, request: Any) -> None:
        """Takes one message."""

    def finish(self) -> Any:
        """The client has sent all; returns the response."""

    def close(self) -> None:
        """Called once at the end, whatever happened, on the event loop."""


class RpcServer:
    """Answers calls of servicers whose methods are plain functions of a message and a `Call`.

    Binding happens on construction, so that a taken port is an error before anything runs.

    Args:
        listen: ``HOST:PORT``; port 0 picks a free one.
        tls: None for plain text.
        client_ca: Authorities whose clients may connect.
        limits: Bounds on clients.
        max_request_bytes: Largest request, in bytes.
        max_response_bytes: Largest response, in bytes.
        authorize: Raises for a call that may not be made; runs on the event loop, before anything of the call is read.
            Health of the server as a whole, the empty name, is told to everybody.

    Raises:
        UnavailableError: The address cannot be listened on.
        NotFoundError: A TLS file does not exist.
        InvalidArgumentError: A TLS file is not a usable PEM file.
    """

    def __init__(
        self,
        listen: str,
        *,
        tls: TlsFiles | None,
        client_ca: Path | None = None,
        limits: CallLimits,
        max_request_bytes: int,
        max_response_bytes: int,
        authorize: Callable[[Call], None] = lambda _call: None,
    ) -> None:
        self._authorize = authorize
        self._lanes: list[Lane] = []
        self._names: list[str] = []
        self._running = 0
        self._stopping = False
        per_peer = limits.max_streams_per_peer
        self._messages = PendingReads(_PENDING, _PENDING_PER_PEER, limits.message_timeout_s)
        self._streams = PendingReads(limits.max_streams, per_peer, limits.message_timeout_s)
        # Streams that wait for their client to send are bounded above, those that wait for it to read here.
        self._unsent = PeerCount("reflection streams", 4 * limits.max_streams, _MAX_UNSENT_STREAMS + per_peer)
        self._unread = PeerCount("bytes of responses that are not read", _MAX_UNREAD_BYTES, _MAX_UNREAD_BYTES * 3 // 4)
        self.health = Health(event_loop(), PeerCount("health Watches", limits.max_streams, per_peer))
        options = _options(limits, max_request_bytes, max_response_bytes)
        self._server, self._port = run_on_loop(_bound(options, listen, tls, client_ca))
        self._drained = asyncio.Event()  # a stop need not wait any more
        self._host = listen.rpartition(":")[0]

    @property
    def address(self) -> str:
        """``HOST:PORT`` as bound."""
        return f"{self._host}:{self._port}"

    def lane(self, what: str, *, threads: int, limit: int, limit_per_peer: int) -> Lane:
        """Threads that end with the server; see `Lane`."""
        lane = Lane(event_loop(), what, threads=threads, limit=limit, limit_per_peer=limit_per_peer)
        self._lanes.append(lane)
        return lane

    def add_service(self, add: Any, servicer: Any, lanes: Callable[[str], Lane]) -> None:
        """Adds a servicer, before `start`.

        Args:
            add: ``add_...Servicer_to_server`` of the generated module.
            servicer: A method takes a message and a `Call`, runs in a thread and returns the response. One whose
                client sends a stream takes None in place of a message and returns a `MessageSink`.
            lanes: The lane of a method's name.
        """
        registrar = _Registrar()
        add(servicer, registrar)
        for service, methods in registrar.services.items():
            self._add_handlers(
                service,
                {
                    name: functools.partial(
                        self._take_stream if handler.request_streaming else self._answer, name, handler, lanes(name)
                    )
                    for name, handler in methods.items()
                },
            )

    def start(self) -> None:
        """Begins to answer; returns at once. Adds health and reflection."""
        self._add_handlers(_HEALTH, {"Check": self._check, "Watch": self._watch}, streams=("Watch",))
        reflected = ReflectionServicer([*self._names, reflection.SERVICE_NAME])
        reflect = functools.partial(self._reflect, reflected)
        name = "ServerReflectionInfo"
        self._add_handlers(reflection.SERVICE_NAME, {name: reflect}, streams=(name,))
        self.health.set("", True)
        run_on_loop(self._server.start())

    def stop(self, drain_s: float) -> None:
        """Refuses new calls and waits for those that run.

        Calls that wait for their client end at once. Health says NOT_SERVING, and Watches end with it.

        Args:
            drain_s: Seconds that running calls get; later they are cancelled.
        """
        self.health.stop()
        run_on_loop(self._stop(drain_s))
        for lane in self._lanes:
            lane.close()

    def cut_short(self) -> None:
        """Ends the draining of a `stop` that waits; may be called by a signal handler."""
        event_loop().call_soon_threadsafe(self._drained.set)

    async def _stop(self, drain_s: float) -> None:
        self._stopping = True
        self._messages.stop()  # new calls are refused from now on
        self._streams.stop()
        if self._running:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._drained.wait(), drain_s)
        # gRPC also waits for connections to close, and for clients to read; a stranger does neither. It is stopped once
        # only: a second stop beside the first can meet a server that is gone.
        await self._server.stop(0 if self._running else _FLUSH_S)

    async def _run(self, lane: Lane, call: Call, work: Callable[[], Result]) -> Result:
        self._running += 1  # a stop waits for it
        try:
            return await lane.run(call.host, work)
        finally:
            self._running -= 1
            if self._stopping and not self._running:
                self._drained.set()

    def _add_handlers(
        self, service: str, behaviours: Mapping[str, Behaviour], *, streams: Collection[str] = ()
    ) -> None:
        # To gRPC all requests are streams of bytes: a behaviour then begins with the headers and reads by itself, and
        # messages are parsed in threads. On the wire there is no difference.
        self._names.append(service)
        handlers = {}
        for name, behaviour in behaviours.items():
            make = grpc.stream_stream_rpc_method_handler if name in streams else grpc.stream_unary_rpc_method_handler
            handlers[name] = make(_with_status(behaviour, f"{service}/{name}"))
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))

    async def _answer(self, name: str, handler: Any, lane: Lane, context: Any) -> bytes:
        call = Call(name, context)
        try:
            self._authorize(call)
            data = await self._read_one(call, context)

            def work() -> bytes:
                request = _parsed(handler.request_deserializer, data, name)
                return bytes(handler.response_serializer(handler.unary_unary(request, call)))

            return self._counted(call, context, await self._run(lane, call, work))
        finally:
            call.end()

    async def _take_stream(self, name: str, handler: Any, lane: Lane, context: Any) -> bytes:
        call = Call(name, context)
        sink: MessageSink | None = None
        try:
            self._authorize(call)
            sink = handler.stream_unary(None, call)
            while (data := await self._messages.read(call.host, context.read)) is not grpc.aio.EOF:
                work = functools.partial(_take, sink, handler.request_deserializer, data, name)
                await self._run(lane, call, work)
            response = await self._run(lane, call, sink.finish)
            return self._counted(call, context, bytes(handler.response_serializer(response)))
        finally:
            call.end()
            if sink is not None:
                sink.close()

    def _counted(self, call: Call, context: Any, response: bytes) -> bytes:
        """The response, which gRPC keeps until the client has taken it; refused where too much is kept already."""
        self._unread.enter(call.host, len(response))
        context.add_done_callback(lambda _: self._unread.leave(call.host, len(response)))
        return response

    async def _read_one(self, call: Call, context: Any) -> bytes:
        data = await self._messages.read(call.host, context.read)
        if data is grpc.aio.EOF:
            raise InvalidArgumentError(f"the call of {call.method} ended without a message")
        return bytes(data)

    async def _check(self, context: Any) -> bytes:
        call = Call("Check", context)
        name = self._health_name(await self._read_one(call, context), call)
        return bytes(self.health.check(name).SerializeToString())

    async def _watch(self, context: Any) -> None:
        call = Call("Watch", context)
        name = self._health_name(await self._read_one(call, context), call)
        await self.health.watch(name, call.host, context)

    def _health_name(self, data: bytes, call: Call) -> str:
        name = str(_parsed(health_pb2.HealthCheckRequest.FromString, data, call.method).service)
        if name:  # clients learn of a name only if they may list names
            self._authorize(call)
        return name

    async def _reflect(self, reflected: Any, context: Any) -> None:
        call = Call("ServerReflectionInfo", context)
        self._authorize(call)
        self._unsent.enter(call.host)
        try:
            async for response in reflected.ServerReflectionInfo(self._requests(call, context), context):
                await context.write(response.SerializeToString())
        finally:
            self._unsent.leave(call.host)

    async def _requests(self, call: Call, context: Any) -> AsyncIterator[Any]:
        while (data := await self._streams.read(call.host, context.read)) is not grpc.aio.EOF:
            yield _parsed(reflection_pb2.ServerReflectionRequest.FromString, data, call.method)


class _Registrar:
    """Stands for a server where a generated module adds its handlers."""

    def __init__(self) -> None:
        self.services: dict[str, Mapping[str, Any]] = {}

    def add_generic_rpc_handlers(self, _handlers: Sequence[Any]) -> None:
        """The same handlers, in a form that hides them."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        self.services[service] = handlers


def _with_status(behaviour: Behaviour, method: str) -> Any:
    async def answer(_requests: Any, context: Any) -> bytes | None:
        try:
            return await behaviour(context)
        except Exception as error:
            code, message = status_of(error, method)
        await context.abort(code, message)
        raise AssertionError("abort raises")

    return answer


def _take(sink: MessageSink, parse: Callable[[bytes], Any], data: bytes, name: str) -> None:
    sink.take(_parsed(parse, data, name))


def _parsed(parse: Callable[[bytes], Any], data: bytes, name: str) -> Any:
    try:
        return parse(data)
    except DecodeError:
        raise InvalidArgumentError(
            f"the message of {name} is not of its type; is the client of another version?"
        ) from None


async def _bound(options: Any, listen: str, tls: TlsFiles | None, client_ca: Path | None) -> tuple[Any, int]:
    server = grpc.aio.server(options=options)
    try:
        return server, bind(server, listen, tls, client_ca)
    except TiervecError:
        await server.stop(None)
        raise


def _options(limits: CallLimits, max_request_bytes: int, max_response_bytes: int) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", max_request_bytes),
        ("grpc.max_send_message_length", max_response_bytes),
        # Otherwise two servers on one port share it silently.
        ("grpc.so_reuseport", 0),
        ("grpc.max_concurrent_streams", _STREAMS_PER_CONNECTION),
        ("grpc.max_allowed_incoming_connections", limits.connections),
        # A connection that says nothing, or stops in the middle of TLS.
        ("grpc.server_handshake_timeout_ms", 5_000),
        # A client that is still there connects again by itself at its next call.
        ("grpc.max_connection_idle_ms", 300_000),
        # A call whose client vanished does not hold its place for ever.
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ]
