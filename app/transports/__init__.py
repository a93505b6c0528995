"""How GraphQL travels: HTTP, WebSocket and server-sent events, mounted by Ariadne's ASGI app."""
