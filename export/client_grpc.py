"""A client of TensorFlow Serving's gRPC interface; needs tensorflow-serving-api."""

from collections.abc import Callable
from typing import Any, TypeVar

from export.client_base import Client
from export.client_types import (
    Arrays,
    Deadline,
    DeadlineExceededError,
    InvalidArgumentError,
    NotFoundError,
    ServingError,
    SignatureSpec,
    TensorSpec,
    UnavailableError,
    VersionStatus,
)

__all__ = ["GrpcClient"]

T = TypeVar("T")

ERRORS = {
    "INVALID_ARGUMENT": InvalidArgumentError,
    "FAILED_PRECONDITION": InvalidArgumentError,
    "OUT_OF_RANGE": InvalidArgumentError,
    "NOT_FOUND": NotFoundError,
    "DEADLINE_EXCEEDED": DeadlineExceededError,
    "UNAVAILABLE": UnavailableError,
}
"""By the code of the answer."""


class GrpcClient(Client):
    """A model on a server that speaks gRPC, such as `GrpcClient("localhost:8500", "balls")`.

    Messages may have any size that gRPC itself allows. Calls from several threads share a connection.
    """

    def _connect(self) -> None:
        if "://" in self.address or ":" not in self.address:
            raise ValueError(f"`address` of gRPC must look like localhost:8500, got {self.address!r}.")
        try:
            import grpc
            from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
            from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub
        except ImportError as error:
            raise ImportError(f'gRPC needs tensorflow-serving-api: pip install "tfdvae[serving]" ({error}).') from error
        options = [
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
            # A server that comes up is found within a second, instead of gRPC's two minutes.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        self._channel = grpc.insecure_channel(self.address, options)
        self._prediction, self._state = PredictionServiceStub(self._channel), ModelServiceStub(self._channel)

    def close(self) -> None:
        super().close()
        self._channel.close()

    def _predict(self, signature: str, inputs: Arrays, spec: SignatureSpec, deadline: Deadline) -> Arrays:
        import tensorflow as tf
        from tensorflow_serving.apis.predict_pb2 import PredictRequest

        tensors = {name: tf.make_tensor_proto(value) for name, value in inputs.items()}
        request = PredictRequest(model_spec=self._model_spec(self.version, signature), inputs=tensors)
        answer = self._call(self._prediction.Predict, request, deadline)
        lacking = [name for name in spec.outputs if name not in answer.outputs]
        if lacking:
            raise ServingError(f"{self.address} answered {signature!r} without the outputs {', '.join(lacking)}.")
        return {name: tf.make_ndarray(answer.outputs[name]) for name in spec.outputs}

    def _metadata(self, deadline: Deadline) -> dict[str, SignatureSpec]:
        from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest, SignatureDefMap

        request = GetModelMetadataRequest(model_spec=self._model_spec(self.version), metadata_field=["signature_def"])
        answer = self._call(self._prediction.GetModelMetadata, request, deadline)
        found = SignatureDefMap()
        if not answer.metadata["signature_def"].Unpack(found):
            raise ServingError(f"{self.address} described the model in words that cannot be read.")
        return {
            name: SignatureSpec(_specs(one.inputs), _specs(one.outputs))
            for name, one in found.signature_def.items()
            if not name.startswith("__")
        }

    def _status(self, version: int | None, deadline: Deadline) -> list[VersionStatus]:
        from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest, ModelVersionStatus

        # States are told by numbers.
        request = GetModelStatusRequest(model_spec=self._model_spec(version, labelled=False))
        answer = self._call(self._state.GetModelStatus, request, deadline)
        return [
            VersionStatus(one.version, ModelVersionStatus.State.Name(one.state), one.status.error_message)
            for one in answer.model_version_status
        ]

    def _model_spec(self, version: int | None, signature: str = "", labelled: bool = True) -> Any:
        from tensorflow_serving.apis.model_pb2 import ModelSpec

        spec = ModelSpec(name=self.model, signature_name=signature)
        if version is not None:
            spec.version.value = version
        elif self.label is not None and labelled:
            spec.version_label = self.label
        return spec

    def _call(self, method: Callable[..., T], request: Any, deadline: Deadline) -> T:
        import grpc

        if deadline.left() <= 0.0:
            raise self._late(deadline)
        try:
            return method(request, timeout=deadline.left())
        except grpc.RpcError as error:
            code = error.code().name
            if code == "DEADLINE_EXCEEDED":
                raise self._late(deadline) from error
            if code == "UNAVAILABLE":
                raise UnavailableError(f"{self.address} cannot be reached: {error.details()}") from error
            raise ERRORS.get(code, ServingError)(f"{self.address} refused with {code}: {error.details()}") from error
        except ValueError as error:
            raise ServingError(f"The connection to {self.address} was closed: {error}") from error


def _specs(tensors: Any) -> dict[str, TensorSpec]:
    import tensorflow as tf

    return {
        name: TensorSpec(
            tf.dtypes.as_dtype(one.dtype).name, tuple(None if n.size < 0 else n.size for n in one.tensor_shape.dim)
        )
        for name, one in tensors.items()
    }
