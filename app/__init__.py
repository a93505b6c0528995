"""Live GraphQL for Django: machinery that knows no domain, under whatever name it is installed."""
