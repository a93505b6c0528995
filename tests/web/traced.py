"""The items' server with OpenTelemetry's SDK, which writes each span into a file."""

import os

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from tests.items import asgi

application = asgi.application
# For as long as the process lives.
file = open(os.environ["SPANS_FILE"], "a", buffering=1)  # noqa: SIM115, PTH123
exporter = ConsoleSpanExporter(out=file, formatter=lambda span: f"{span.to_json(indent=None)}\n")
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
