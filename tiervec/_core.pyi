"""Native part of TierVec; use the tiervec package instead."""



def build_info() -> dict[str, object]:
    """
    How this extension was built: version, compiler, build_type, architecture, features.
    """
