"""A model server that speaks TensorFlow Serving's REST and gRPC, and keeps its concepts as modules.

From the process down: `main` and `server` put it together. `rest` and `grpc_api` are the two adapters that carry what
is asked; `http` is the protocol under `rest`, and knows nothing of models. A `core` puts a configuration into effect
and resolves requests, which its `Predictor` answers by `methods`, what can be asked as messages. The `manager` polls
base paths and brings the versions aspired to into service, which `models` load and compute, with `batching` around
them. Under all lie the contracts of a `servable` and its loader, statuses, metrics and flags.

`operation` is around the process: keep it alive outside of any run, start, stop and describe it, ask it. Nothing there
imports TensorFlow.
"""
