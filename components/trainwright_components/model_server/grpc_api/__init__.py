"""The gRPC API: services, and the server that they are on."""
