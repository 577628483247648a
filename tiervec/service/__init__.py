"""The gRPC service of TierVec: the protocol, its handlers and the server.

``handlers`` answer plain Python objects and know nothing of gRPC; ``grpc_services`` is a thin adapter around them;
`tiervec.rpc` is where our errors meet gRPC's.
"""
