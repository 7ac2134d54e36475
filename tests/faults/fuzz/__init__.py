"""A coverage-guided fuzzer over every parser of ours: `python -m faults.fuzz PARSER`, with atheris.

The names here, the parsers elsewhere: who only wants to know what there is need not import them.
"""

#: Each is described where it is read, in `parsers`.
PARSERS = (
    "values", "json", "cron", "template", "answer", "body", "head", "chunks", "requests", "tables", "schema", "items",
    "query",
)  # fmt: skip
#: Broken on purpose.
CONTROLS = ("an error of another kind", "a slow regex")
