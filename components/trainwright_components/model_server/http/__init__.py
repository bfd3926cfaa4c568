"""HTTP/1.1 on asyncio: connections, requests, responses, TLS. Knows nothing of models."""
