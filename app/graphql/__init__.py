"""GraphQL over HTTP, WebSocket and server-sent events, mounted by Ariadne's ASGI app."""
