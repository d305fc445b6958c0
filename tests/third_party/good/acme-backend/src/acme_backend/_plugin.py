from mocha_core import hookimpl


@hookimpl
def mocha_register_backends(backends):
    backends.add("acme", "acme_backend.backend:AcmeBackend", priority=-1)
