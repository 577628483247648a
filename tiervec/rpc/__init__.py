"""What every gRPC server and client of TierVec shares: status codes, listening, calling, generated code."""
