"""TLS for REST, from the same text proto SSLConfig that gRPC takes."""

import ssl
import tempfile
from pathlib import Path

from trainwright_components.model_server.status import invalid_argument
from trainwright_components.model_server.text_protos import SSLConfig, read_text_proto


def read_ssl_context(file: Path) -> ssl.SSLContext:
    """The context of a server with the key and certificate in `file`.

    Raises:
        StatusError: The file cannot be read, or what it holds is not a key, certificate or authority.
    """
    config = read_text_proto(file, SSLConfig())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        with tempfile.TemporaryDirectory(prefix="trainwright-tls-") as folder:  # OpenSSL reads keys from files alone
            key, certificate = Path(folder, "key.pem"), Path(folder, "cert.pem")
            key.touch(mode=0o600)
            key.write_text(config.server_key)
            certificate.write_text(config.server_cert)
            context.load_cert_chain(certificate, key)
        if config.custom_ca:
            context.load_verify_locations(cadata=config.custom_ca)
    except (ssl.SSLError, ValueError) as error:
        raise invalid_argument(f"{file}: server_key, server_cert or custom_ca cannot be used: {error}") from error
    if config.client_verify:
        if not config.custom_ca:
            raise invalid_argument(f"{file}: client_verify needs custom_ca, the authority of the clients' certificates")
        context.verify_mode = ssl.CERT_REQUIRED
    return context
