"""KFP face of `deploy_model`: unpack, call, record."""

from typing import Any, NamedTuple

from kfp import dsl

from trainwright_components.images import CPU_IMAGE
from trainwright_components.reuse import NEVER_REUSED


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def deploy_serving(
    saved_model: dsl.Input[dsl.Model],
    golden_requests: dsl.Input[dsl.Artifact],
    deployment: dsl.Output[dsl.Artifact],
    model_name: str,
    serving: dict[str, Any] = {},
    compared_with: str = "",
) -> NamedTuple("Outputs", [("endpoint", str), ("version", int)]):  # type: ignore[valid-type]  # KFP's own form
    """Publish a SavedModel as the next version of a model and serve it once it has answered its golden requests.

    Args:
        saved_model: The exported SavedModel.
        golden_requests: Requests with the answers that the served model must give.
        model_name: The name that the model is served under.
        serving: Where the model is served: enabled, and base_path, the folder of its versions.
        compared_with: The version that must still be live, as evaluate says it; empty publishes whatever is live.

    Returns:
        deployment: The deployment record, with the history of the model's versions.
        endpoint: The model's address over REST.
        version: The version now served.
    """
    import os
    from pathlib import Path
    from typing import NamedTuple

    from trainwright_components.deploy_serving.deploy import deploy_model
    from trainwright_components.deploy_serving.record import metadata_of, write_record
    from trainwright_components.saved_models.serving import ServingSettings
    from trainwright_components.settings import check_enabled

    settings = ServingSettings.from_mapping(serving)
    check_enabled(settings.enabled, where="serving", output="deploy")
    result = deploy_model(
        Path(saved_model.path),
        Path(golden_requests.path),
        model_name=model_name,
        base_path=settings.base_path,
        compared_with=compared_with,
        run=os.environ.get("TRAINWRIGHT_RUN", ""),
    )
    write_record(result, Path(deployment.path))
    deployment.metadata.update(metadata_of(result))

    class Outputs(NamedTuple):
        endpoint: str
        version: int

    return Outputs(endpoint=result.rest_url, version=result.version)


# Its effect is the server's state, which may have changed since; its outputs only tell of it.
deploy_serving.component_spec.implementation.container.env = NEVER_REUSED
