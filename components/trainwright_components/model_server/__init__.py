"""A model server that speaks TensorFlow Serving's REST and gRPC, and keeps its concepts as modules.

A `Source` polls base paths and says which versions a `VersionPolicy` aspires to; the `Manager` loads them through a
`Loader`, in the order of a `TransitionPolicy`, and lends each request a handle to a `Servable`. `ServerCore` puts a
configuration into effect and resolves requests, which a `Predictor` answers. `rest` and `grpc_service` are the two
faces, `main` the process.

A servable is a `SavedModel`, computed by `Runner`s, or a `TfliteModel`; `BatchedServable` puts requests together around
it. `rest_transport` and `connections` are HTTP and what it may cost; `json_plain`, `json_numbers` and `tensor_codec`
the fast ways beside the exact ones; `pages` and `metrics` what operators read; `request_log` what a model was asked.

Around the process: `supervisor` keeps it alive outside of any run, `control` starts, stops and describes it for the
command line, `client` asks it. These three import no TensorFlow.
"""
