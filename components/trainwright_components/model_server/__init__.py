"""A model server that speaks TensorFlow Serving's REST and gRPC, and keeps its concepts as modules.

A `Source` polls base paths and says which versions a `VersionPolicy` aspires to; the `Manager` loads them through a
`Loader`, in the order of a `TransitionPolicy`, and lends each request a handle to a `Servable`. `ServerCore` puts a
configuration into effect and resolves requests, which a `Predictor` answers. These lie in this folder,
with `main`, the process.

`methods` are what can be asked, as messages; `rest` and `grpc_api` the two faces that carry them. `models` are what a
version computes with, `batching` puts requests together around it. `metrics` is what operators read, `request_log`
what a model was asked.

`operation` is around the process: keep it alive outside of any run, start, stop and describe it, ask it. Nothing there
imports TensorFlow.
"""
