"""Write signatures as a SavedModel, under the names and methods that clients of TensorFlow Serving know."""

import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainwright_components.errors import InvalidModule
from trainwright_components.export_savedmodel.signatures import METHOD_NAMES, Signature
from trainwright_components.quiet import quiet_loggers
from trainwright_components.saved_models.graph_names import can_be_arguments
from trainwright_components.saved_models.layout import SAVED_MODEL_FILE
from trainwright_components.user_module.keras_variables import tensorflow_variable

if TYPE_CHECKING:
    import keras

FINGERPRINT_FILE = "fingerprint.pb"
_LOADED = "tensorflow.python.saved_model.load"  # what tf.saved_model.load makes of the objects in a SavedModel
_PYTHON_OPS = ("PyFunc", "PyFuncStateless", "EagerPyFunc")


def write_archive(model: "keras.Model", signatures: Iterable[Signature], tables: Iterable[Any], folder: Path) -> None:
    """Write the SavedModel into `folder`; needs only TensorFlow to be loaded.

    Not with `keras.export.ExportArchive`, which stores weights of a tracked model twice and in random order: here a
    model without lookup tables always becomes the same bytes.

    `tables` are the lookup tables that the functions capture without the model owning them.

    Raises:
        InvalidModule: The graph calls back into Python, which no server can do.
    """
    import tensorflow as tf

    signatures = tuple(signatures)
    functions = {
        each.name: tf.function(each.function, input_signature=each.specs, autograph=False).get_concrete_function()
        for each in signatures
    }
    owner = tf.Module()
    owner.variables_in_use = _in_stable_order(
        model, (variable for function in functions.values() for variable in function.graph.variables)
    )
    owner.tables = [*tables, *_tables_of(model)]
    with quiet_loggers():
        tf.saved_model.save(owner, str(folder), signatures=functions)
    _rename(folder / SAVED_MODEL_FILE, {signature.name: signature.aliases for signature in signatures})
    _renew_fingerprint(folder)


def _in_stable_order(model: "keras.Model", variables: Iterable[Any]) -> list[Any]:
    """Each variable once, in the model's order; those of `preprocess` follow by name."""
    order = {id(tensorflow_variable(variable)): index for index, variable in enumerate(model.variables)}
    once = {id(variable): variable for variable in variables}
    return sorted(once.values(), key=lambda variable: (order.get(id(variable), len(order)), variable.name))


def _tables_of(model: "keras.Model") -> list[Any]:
    """Those that layers hold, themselves or in a SavedModel that they have loaded."""
    from tensorflow.saved_model.experimental import TrackableResource

    found = [value for layer in model._flatten_layers() for value in vars(layer).values()]
    seen: dict[int, Any] = {}
    while found:
        value = found.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if type(value).__module__.startswith(_LOADED):
            found += value._trackable_children().values()
    return [value for value in seen.values() if isinstance(value, TrackableResource)]


def _rename(file: Path, aliases: Mapping[str, Mapping[str, str]]) -> None:
    """Give inputs their real names, which graphs do not accept, and classify and regress their method names."""
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    (graph,) = saved.meta_graphs
    _refuse_python(graph.graph_def)
    for name, definition in graph.signature_def.items():
        definition.method_name = METHOD_NAMES.get(name, definition.method_name)
        for safe, real in aliases.get(name, {}).items():
            definition.inputs[real].CopyFrom(definition.inputs[safe])
            del definition.inputs[safe]
    _rename_functions(graph.object_graph_def, aliases)
    file.write_bytes(saved.SerializeToString(deterministic=True))


def _renew_fingerprint(folder: Path) -> None:
    """The one that TensorFlow wrote is of the file before the names changed, and has a random part."""
    from tensorflow.core.protobuf import fingerprint_pb2
    from tensorflow.python.saved_model.fingerprinting_utils import write_fingerprint  # has no public name

    write_fingerprint(str(folder))
    file = folder / FINGERPRINT_FILE
    fingerprint = fingerprint_pb2.FingerprintDef.FromString(file.read_bytes())
    content = f"{fingerprint.saved_model_checksum}:{fingerprint.checkpoint_hash}"
    fingerprint.uuid = str(uuid.uuid5(uuid.NAMESPACE_OID, content))
    file.write_bytes(fingerprint.SerializeToString(deterministic=True))


def _rename_functions(objects: Any, aliases: Mapping[str, Mapping[str, str]]) -> None:
    """`tf.saved_model.load` takes the names from here, not from the signature definitions."""
    nodes = objects.nodes
    signature_map = next(child.node_id for child in nodes[0].children if child.local_name == "signatures")
    for child in nodes[signature_map].children:
        names = aliases.get(child.local_name)
        if not names:
            continue
        function = nodes[child.node_id].bare_concrete_function
        safe_names = tuple(function.argument_keywords)
        function.argument_keywords[:] = [names.get(name, name) for name in safe_names]
        function.ClearField("function_spec")  # it would hold the call to the graph's names
        concrete = objects.concrete_functions[function.concrete_function_name]
        fields = concrete.canonicalized_input_signature.tuple_value.values[1].dict_value.fields
        is_renamed = can_be_arguments(function.argument_keywords, safe_names)
        for safe, real in names.items():
            fields[safe].tensor_spec_value.name = real
            if is_renamed:
                fields[real].CopyFrom(fields[safe])
                del fields[safe]


def _refuse_python(graph: Any) -> None:
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    found = sorted({node.op for node in nodes if node.op in _PYTHON_OPS})
    if found:
        raise InvalidModule(
            f"the model calls Python while it runs ({', '.join(found)}), which no server can do: replace "
            "tf.py_function and tf.numpy_function in preprocess or in the model by TensorFlow operations"
        )
