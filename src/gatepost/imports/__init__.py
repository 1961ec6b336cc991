"""Coming from elsewhere: a foreign description becomes a `gatepost.yaml`, and a list of what could not be carried over.

    files ──tyk_classic, tyk_oas──► Api ──assemble──► gatepost.yaml
               │  every key that nobody read             │
               └──────────────► Left ◄───────────────────┘

Pure functions over texts: `gatepost import` reads the files and prints what comes of them. Nothing is dropped silently,
and nothing opens by accident: a way to identify callers that has no equal here leaves the route closed.

- `result.py`       `Imported` and `Left`: what an import gives. Start here.
- `tyk.py`          `import_tyk(files)`: Tyk's API definitions and policies.
- `tyk_classic.py`, `tyk_oas.py`, `tyk_policies.py`  one file a format.
- `tyk_auth.py`     who may call, in either format.
- `api.py`          what an API is between its file and ours.
- `assemble.py`     APIs as services, routes and plans.
- `foreign.py`      a foreign mapping that knows which of its keys were read.
- `openapi.py`      `import_openapi(text, file)`.
- `yaml_text.py`    our YAML, which is strict about what is text.
"""
