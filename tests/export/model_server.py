"""A server of SavedModels in this process that speaks TensorFlow Serving's REST and gRPC.

Paths, bodies, codes and messages are those of TensorFlow Serving's sources (http_rest_api_util.cc, json_tensor.cc,
predict_util.cc, get_model_status_impl.cc). Numbers come from Python's TensorFlow.
"""

import contextlib
import json
import re
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

__all__ = ["Servables", "Serving", "serve"]

HTTP = {"INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "NOT_FOUND": 404, "UNAVAILABLE": 503}
PREDICT = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?:predict")
GET = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?(/metadata)?")


class Refusal(Exception):
    """An error code of gRPC's, and a message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Loaded(NamedTuple):
    module: Any
    definition: Any


class Servables:
    """The versions of one model, and how the server behaves.

    Attributes:
        delay: seconds before any answer.
        down: how many of the next calls find the server unavailable.
        calls: how many came.
        labels: numbers of versions by their labels.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.delay, self.down, self.calls = name, 0.0, 0, 0
        self.versions: dict[int, Loaded] = {}
        self.labels: dict[str, int] = {}
        for path in folder.iterdir():
            if path.name.isdigit() and (path / "saved_model.pb").is_file():
                definition = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
                self.versions[int(path.name)] = Loaded(tf.saved_model.load(str(path)), definition.meta_graphs[0])

    def arrive(self) -> None:
        refused = self.down > 0
        self.calls, self.down = self.calls + 1, self.down - refused
        time.sleep(self.delay)
        if refused:
            raise Refusal("UNAVAILABLE", "the server is starting")

    def labelled(self, name: str, version: int | None, label: str | None) -> int | None:
        if label and label not in self.labels:
            raise Refusal("INVALID_ARGUMENT", f"Unrecognized servable version label: {label}")
        return self.labels[label] if label else version

    def find(self, name: str, version: int | None) -> tuple[int, Loaded]:
        wanted = max(self.versions) if version is None else version
        if name != self.name or wanted not in self.versions:
            asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise Refusal("NOT_FOUND", f"Servable not found for request: {asked}")
        return wanted, self.versions[wanted]

    def status(self, name: str, version: int | None) -> Any:
        known = sorted(self.versions, reverse=True) if name == self.name else []
        if version is not None and version not in known:
            raise Refusal("NOT_FOUND", f"Could not find version {version} of model {name}")
        if not known:
            raise Refusal("NOT_FOUND", f"Could not find any versions of model {name}")
        response = get_model_status_pb2.GetModelStatusResponse()
        for one in known if version is None else [version]:
            state = get_model_status_pb2.ModelVersionStatus.AVAILABLE
            response.model_version_status.add(version=one, state=state)
        return response

    def metadata(self, name: str, version: int | None) -> Any:
        number, loaded = self.find(name, version)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = name
        response.model_spec.version.value = number
        found = get_model_metadata_pb2.SignatureDefMap(signature_def=loaded.definition.signature_def)
        response.metadata["signature_def"].Pack(found)
        return response

    def predict(self, loaded: Loaded, name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        signature = loaded.definition.signature_def[name]
        if set(inputs) != set(signature.inputs):
            raise Refusal("INVALID_ARGUMENT", "input size does not match signature")
        for key, value in inputs.items():
            if tf.dtypes.as_dtype(signature.inputs[key].dtype) != value.dtype:
                raise Refusal("INVALID_ARGUMENT", f"input {key} has another type")
        try:
            tensors = {key: tf.constant(value) for key, value in inputs.items()}
            outputs = loaded.module.signatures[name](**tensors)
        except (tf.errors.InvalidArgumentError, ValueError, TypeError) as error:
            raise Refusal("INVALID_ARGUMENT", str(error)) from error
        return {key: value.numpy() for key, value in outputs.items()}


def read_json(value: Any, dtype: tf.DType, name: str) -> np.ndarray:
    """A tensor from JSON, with the strictness of the server: types must match, and no integer may lose digits."""

    def check(entry: Any) -> None:
        if isinstance(entry, list):
            for one in entry:
                check(one)
            return
        boolean, integer = isinstance(entry, bool), isinstance(entry, int) and not isinstance(entry, bool)
        fits = boolean if dtype.is_bool else integer if dtype.is_integer else integer or isinstance(entry, float)
        if not fits:
            raise Refusal("INVALID_ARGUMENT", f"JSON Value: {entry} is not of expected type: {dtype.name}")
        if dtype.is_floating and integer and abs(entry) >= 2**24:
            raise Refusal("INVALID_ARGUMENT", f"Cannot convert JSON value: {entry} to float without loss of precision.")

    check(value)
    try:
        return np.array(value, dtype.as_numpy_dtype)
    except (ValueError, OverflowError) as error:
        raise Refusal("INVALID_ARGUMENT", f"Encountered list at unexpected size for {name}: {error}") from error


def write_json(value: np.ndarray) -> Any:
    """Nested lists; the shortest digits that give the same float32, like the server's."""
    if value.dtype == np.float32:
        return [write_json(one) for one in value] if value.ndim else float(str(value))
    return value.tolist()


class Rest(BaseHTTPRequestHandler):
    """REST for `server.servables`."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        """Silence."""

    def answer(self, code: int, content: str) -> None:
        body = content.encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def reply(self, method: Any) -> None:
        try:
            self.server.servables.arrive()
            code, content = 200, method()
        except Refusal as refusal:
            code, content = HTTP[refusal.code], json.dumps({"error": str(refusal)})
        self.answer(code, content)

    def do_GET(self) -> None:
        self.reply(self.look_up)

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers["Content-Length"]))
        self.reply(self.predict)

    def look_up(self) -> str:
        if not (found := GET.fullmatch(self.path)):
            raise Refusal("INVALID_ARGUMENT", f"Malformed request: GET {self.path}")
        name, version, label, metadata = found.groups()
        version = self.server.servables.labelled(name, None if version is None else int(version), label)
        if not metadata:
            response = self.server.servables.status(name, version)
            return json_format.MessageToJson(
                response, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
            )
        response = self.server.servables.metadata(name, version)
        definitions = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(definitions)
        options = {"preserving_proto_field_name": True, "always_print_fields_with_no_presence": True}
        spec, found = (json_format.MessageToDict(one, **options) for one in (response.model_spec, definitions))
        return json.dumps({"model_spec": spec, "metadata": {"signature_def": found}})

    def predict(self) -> str:
        if not (found := PREDICT.fullmatch(self.path)):
            raise Refusal("INVALID_ARGUMENT", f"Malformed request: POST {self.path}")
        name, version, label = found.groups()
        servables = self.server.servables
        version = servables.labelled(name, None if version is None else int(version), label)
        loaded = servables.find(name, version)[1]
        request = json.loads(self.body)
        key = request.get("signature_name", "serving_default")
        if key not in loaded.definition.signature_def:
            raise Refusal("INVALID_ARGUMENT", f'Serving signature name: "{key}" not found in signature def')
        inputs = {}
        for field, info in loaded.definition.signature_def[key].inputs.items():
            if field not in request["inputs"]:
                raise Refusal("INVALID_ARGUMENT", f"Missing named input: {field} in 'inputs' object.")
            inputs[field] = read_json(request["inputs"][field], tf.dtypes.as_dtype(info.dtype), field)
        outputs = {field: write_json(value) for field, value in servables.predict(loaded, key, inputs).items()}
        return json.dumps({"outputs": outputs if len(outputs) > 1 else next(iter(outputs.values()))})


class Prediction(prediction_service_pb2_grpc.PredictionServiceServicer):
    """gRPC's PredictionService."""

    def __init__(self, servables: Servables) -> None:
        self.servables = servables

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        with answered(self.servables, context):
            spec = request.model_spec
            number, loaded = self.servables.find(spec.name, version_of(spec, self.servables))
            key = spec.signature_name or "serving_default"
            if key not in loaded.definition.signature_def:
                raise Refusal("FAILED_PRECONDITION", f'Serving signature key "{key}" not found.')
            inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
            outputs = self.servables.predict(loaded, key, inputs)
            response = predict_pb2.PredictResponse(
                outputs={name: tf.make_tensor_proto(value) for name, value in outputs.items()}
            )
            response.model_spec.name = spec.name
            response.model_spec.version.value = number
            return response

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        with answered(self.servables, context):
            spec = request.model_spec
            return self.servables.metadata(spec.name, version_of(spec, self.servables))


class State(model_service_pb2_grpc.ModelServiceServicer):
    """gRPC's ModelService."""

    def __init__(self, servables: Servables) -> None:
        self.servables = servables

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:
        with answered(self.servables, context):
            spec = request.model_spec
            return self.servables.status(spec.name, version_of(spec, self.servables))


def version_of(spec: Any, servables: Servables) -> int | None:
    return servables.labelled(spec.name, spec.version.value if spec.HasField("version") else None, spec.version_label)


@contextlib.contextmanager
def answered(servables: Servables, context: grpc.ServicerContext) -> Iterator[None]:
    try:
        servables.arrive()
        yield
    except Refusal as refusal:
        context.abort(grpc.StatusCode[refusal.code], str(refusal))


class Serving(NamedTuple):
    """Where the server is, and what it serves."""

    rest: str
    grpc: str
    servables: Servables


@contextlib.contextmanager
def serve(servables: Servables, rest_port: int = 0, grpc_port: int = 0) -> Iterator[Serving]:
    """A server on these ports; 0: on free ones."""
    unlimited = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    remote = grpc.server(futures.ThreadPoolExecutor(4), options=unlimited)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Prediction(servables), remote)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(State(servables), remote)
    port = remote.add_insecure_port(f"127.0.0.1:{grpc_port}")
    remote.start()
    http = ThreadingHTTPServer(("127.0.0.1", rest_port), Rest)
    http.servables = servables
    thread = threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield Serving(f"http://127.0.0.1:{http.server_port}", f"127.0.0.1:{port}", servables)
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
        remote.stop(0).wait()
