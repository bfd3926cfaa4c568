"""A model server that speaks TensorFlow Serving's REST and gRPC, and keeps its concepts as modules.

A `Source` polls base paths and says which versions a `VersionPolicy` aspires to; the `Manager` loads them through a
`Loader`, in the order of a `TransitionPolicy`, and lends each request a handle to a `Servable`. `ServerCore` puts a
configuration into effect and resolves requests. `rest` and `grpc_service` are the two faces, `main` the process.

Around the process: `supervisor` keeps it alive outside of any run, `control` starts, stops and describes it for the
command line, `client` asks it. These three import no TensorFlow.
"""
