"""OpenAPI descriptions (3.0 and 3.1) as configuration: `services.NAME.openapi` becomes routes like any other.

    spec.yaml ──documents──► operations ──routes──► schema.Route … with `validate`, `validate_response`, `mock`

It stands in `config` because it is part of loading: it runs in the child that reads `gatepost.yaml`, and what it makes
travels as the routes that are declared do.

- `settings.py`   what a service may say of its description.
- `expand.py`     `expand(config, documents)`: the routes that the descriptions make, and every fault. Start here.
- `operations.py` the operations of a document, with what they inherit.
- `rules.py`      one operation as the settings of policies.
- `examples.py`   a value for a schema, where the description gives none.
"""
