"""Configuration: `gatepost.yaml` becomes one typed, checked, frozen value, or every fault at once with its line.

    text ──tree──► nodes with lines ──reading──► Config (schema)          loading.py puts these together
                                       │ units, secrets: what one text must look like

- `schema.py`   every setting as a type, with its unit and default. Start here.
- `values.py`   what a value is: durations, sizes, names, expressions, secrets.
- `policies/`   the settings of policies, one file each, and the list of them.
- `loading.py`  `load(path)` and `load_text(text, file)`: a `Loaded` (the `Config` and its `Lines`), or `ConfigError`.
- `documents.py`, `json_schema.py`  documents that others wrote, and the schemas gathered out of them.
- `openapi/`    a service's OpenAPI description becomes routes.
- `child.py`    `load_in_child(path)`: the same in another process, so that a serving loop is never held.
- `tree.py`     the YAML we accept, which is less than YAML: no guessing of types.
- `reading.py`  walks the tree with the schema in hand and collects every fault.
- `units.py`    durations, sizes, addresses, networks, patterns: one function each.
- `secrets.py`  `env:NAME` and `file:PATH`; a value that never shows.
"""
