"""Messages that TensorFlow Serving reads and its Python package lacks, by their files in its sources: session_bundle_
config.proto and monitoring_config.proto."""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

__all__ = ["BatchingParameters", "MonitoringConfig"]

Field = descriptor_pb2.FieldDescriptorProto
NUMBER, TEXT = (f".google.protobuf.{name}Value" for name in ("Int64", "String"))


def _messages() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="server_protos.proto", package="server_protos", syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)

    def message(name: str, **fields: tuple[int, int, str]) -> None:
        one = file.message_type.add(name=name)
        for key, (number, kind, type_name) in fields.items():
            repeated = key.startswith("allowed")
            label = Field.LABEL_REPEATED if repeated else Field.LABEL_OPTIONAL
            one.field.add(name=key, number=number, type=kind, type_name=type_name or None, label=label)

    message(
        "BatchingParameters",
        max_batch_size=(1, Field.TYPE_MESSAGE, NUMBER),
        batch_timeout_micros=(2, Field.TYPE_MESSAGE, NUMBER),
        max_enqueued_batches=(3, Field.TYPE_MESSAGE, NUMBER),
        num_batch_threads=(4, Field.TYPE_MESSAGE, NUMBER),
        thread_pool_name=(5, Field.TYPE_MESSAGE, TEXT),
        allowed_batch_sizes=(6, Field.TYPE_INT64, ""),
        pad_variable_length_inputs=(7, Field.TYPE_BOOL, ""),
    )
    message("PrometheusConfig", enable=(1, Field.TYPE_BOOL, ""), path=(2, Field.TYPE_STRING, ""))
    message("MonitoringConfig", prometheus_config=(1, Field.TYPE_MESSAGE, ".server_protos.PrometheusConfig"))
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    found = (pool.FindMessageTypeByName(f"server_protos.{one.name}") for one in file.message_type)
    return {one.name: message_factory.GetMessageClass(one) for one in found}


MESSAGES = _messages()
BatchingParameters, MonitoringConfig = MESSAGES["BatchingParameters"], MESSAGES["MonitoringConfig"]
