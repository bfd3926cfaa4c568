"""What every servable and every loader keeps, whatever computes: the contracts of `servable`, on one small model."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from trainwright_components.model_server.batching.parameters import BatchingParameters
from trainwright_components.model_server.batching.scheduler import BatchScheduler
from trainwright_components.model_server.batching.servable import BatchedServable
from trainwright_components.model_server.batching.setup import Batching
from trainwright_components.model_server.metrics import ServingMetrics
from trainwright_components.model_server.models.loader import SavedModelLoader
from trainwright_components.model_server.models.saved_model import SavedModel
from trainwright_components.model_server.models.tflite_model import FILE_NAME, TfliteModel
from trainwright_components.model_server.models.timed import TimedServable
from trainwright_components.model_server.models.warmup import WARMUP_FILE
from trainwright_components.model_server.servable import Loader, OutputOf, Servable, ServableId
from trainwright_components.model_server.status import Code, StatusError

SIGNATURE = "serving_default"


@pytest.fixture(scope="module")
def tflite_half(half: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`half` as a TFLite model: y = 0.5 x + 2."""
    converter = tf.lite.TFLiteConverter.from_saved_model(str(half), signature_keys=[SIGNATURE])
    folder = tmp_path_factory.mktemp("tflite_half")
    (folder / FILE_NAME).write_bytes(converter.convert())
    return folder


def aliases(servable: Servable) -> tuple[str, str]:
    """The names of the only input and the only output of y = 0.5 x + 2."""
    signature = servable.signatures[SIGNATURE]
    ((x, _),) = signature.inputs.items()
    ((y, _),) = signature.outputs.items()
    return x, y


def ask(servable: Servable, *values: float) -> list[float]:
    x, y = aliases(servable)
    answer: list[float] = servable.run(SIGNATURE, {x: np.array(values, np.float32)}, [y])[y].tolist()
    return answer


class ServableContract:
    """Run by each servable's own test class, which says how to make one of y = 0.5 x + 2."""

    @pytest.fixture
    def servable(self) -> Iterator[Servable]:
        raise NotImplementedError

    def test_it_computes(self, servable: Servable) -> None:
        assert ask(servable, 2.0, 4.0) == [3.0, 4.0]
        assert ask(servable, 0.0) == [2.0]
        servable.close()

    def test_what_is_asked_together_comes_in_the_order_asked_for(self, servable: Servable) -> None:
        x, y = aliases(servable)
        outputs = [OutputOf(signature=SIGNATURE, alias=y)] * 2
        first, second = servable.run_together({x: np.array([2.0, 4.0], np.float32)}, outputs)
        assert first.tolist() == second.tolist() == [3.0, 4.0]
        servable.close()

    @pytest.mark.parametrize("wrong", [np.array([b"text"], object), np.ones(1, np.float64)])
    def test_a_wrong_type_is_refused_and_harms_nothing(self, servable: Servable, wrong: Any) -> None:
        x, y = aliases(servable)
        with pytest.raises(StatusError) as refused:
            servable.run(SIGNATURE, {x: wrong}, [y])
        assert refused.value.code is Code.INVALID_ARGUMENT
        assert ask(servable, 2.0) == [3.0]
        servable.close()

    def test_threads_get_the_answers_to_their_own_questions(self, servable: Servable) -> None:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda value: ask(servable, value, value), map(float, range(64))))
        assert answers == [[0.5 * value + 2] * 2 for value in range(64)]
        servable.close()

    def test_what_was_never_computed_is_not_known_to_be_quick(self, servable: Servable) -> None:
        assert not servable.is_quick(SIGNATURE)
        servable.close()

    def test_signatures_stay_the_same_object(self, servable: Servable) -> None:
        """By it the REST API knows whether a request was read by the signatures of the version that answers."""
        before = servable.signatures
        ask(servable, 1.0)
        assert servable.signatures is before
        servable.close()


class TestSavedModel(ServableContract):
    @pytest.fixture
    def servable(self, half: Path) -> SavedModel:
        return SavedModel(half)


class TestTfliteModel(ServableContract):
    @pytest.fixture
    def servable(self, tflite_half: Path) -> TfliteModel:
        return TfliteModel(tflite_half, interpreters=2)


class TestTimedServable(ServableContract):
    @pytest.fixture
    def servable(self, half: Path) -> TimedServable:
        return TimedServable(SavedModel(half), "half", ServingMetrics())


class TestBatchedServable(ServableContract):
    @pytest.fixture
    def servable(self, half: Path, scheduler: BatchScheduler) -> BatchedServable:
        return BatchedServable(SavedModel(half), scheduler, BatchingParameters())


class TestBatchedTfliteModel(ServableContract):
    @pytest.fixture
    def servable(self, tflite_half: Path, scheduler: BatchScheduler) -> BatchedServable:
        return BatchedServable(TfliteModel(tflite_half, interpreters=2), scheduler, BatchingParameters())


def put_warmup(version: Path, alias: str) -> None:
    """Give a version one warm-up record, that feeds `alias`."""
    request = predict_pb2.PredictRequest()
    request.inputs[alias].CopyFrom(tf.make_tensor_proto([1.0]))
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(request)
    (version / WARMUP_FILE).parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(version / WARMUP_FILE)) as writer:
        writer.write(log.SerializeToString())


class LoaderContract:
    """Run by each loader's own test class, which says how to make one, and where y = 0.5 x + 2 lies."""

    @pytest.fixture
    def loader(self) -> Iterator[Loader]:
        raise NotImplementedError

    @pytest.fixture
    def version(self, tmp_path: Path) -> Path:
        raise NotImplementedError

    def test_what_it_loads_answers(self, loader: Loader, version: Path) -> None:
        servable = loader.load(ServableId("half", 1), version)
        assert ask(servable, 2.0) == [3.0]
        servable.close()

    def test_it_loads_the_same_version_twice(self, loader: Loader, version: Path) -> None:
        """As after a version was taken away and put back."""
        first, second = (loader.load(ServableId("half", 1), version) for _ in range(2))
        first.close()
        assert ask(second, 2.0) == [3.0]
        second.close()

    def test_an_empty_folder_is_refused(self, loader: Loader, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(StatusError) as refused:
            loader.load(ServableId("half", 1), tmp_path / "empty")
        assert refused.value.code is Code.NOT_FOUND

    def test_a_warm_up_record_that_fails_fails_the_load(self, loader: Loader, version: Path) -> None:
        put_warmup(version, "no such input")
        with pytest.raises(StatusError, match="input"):
            loader.load(ServableId("half", 1), version)


def copy_files(source: Path, folder: Path) -> Path:
    """Links to the files of `source`, in a folder that a test may add to."""
    for file in source.rglob("*"):
        if file.is_file():
            link = folder / file.relative_to(source)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file)
    return folder


class TestSavedModelLoader(LoaderContract):
    @pytest.fixture
    def loader(self) -> SavedModelLoader:
        return SavedModelLoader()

    @pytest.fixture
    def version(self, half: Path, tmp_path: Path) -> Path:
        return copy_files(half, tmp_path / "1")


class TestSavedModelLoaderWithBatching(TestSavedModelLoader):
    @pytest.fixture
    def loader(self) -> Iterator[SavedModelLoader]:
        batching = Batching(None, is_per_model=True, metrics=ServingMetrics())
        yield SavedModelLoader(batching=batching)
        batching.close()


class TestSavedModelLoaderOfTfliteModels(LoaderContract):
    @pytest.fixture
    def loader(self) -> SavedModelLoader:
        return SavedModelLoader(tflite_interpreters=1)

    @pytest.fixture
    def version(self, tflite_half: Path, tmp_path: Path) -> Path:
        return copy_files(tflite_half, tmp_path / "1")
