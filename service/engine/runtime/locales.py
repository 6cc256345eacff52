"""Advice for locales that a model needs and the machine lacks.

scikit-learn's text vectorizers are exported to StringNormalizer. ONNX Runtime's implementation uses
the C library for upper and lower case, with the locale that the node names, else en_US.UTF-8. Slim
images and minimal servers have only C.UTF-8.
"""

import re

from service.core.names import displayed

MISSING = re.compile(r"Failed to construct locale with name: ?(.+?):(?:locale::|\S|$)", re.DOTALL)
NAME = re.compile(r"([a-z]{2,3}(?:_[A-Z]{2})?)(?:\.([\w-]+))?(@\w+)?")


def missing_locale(error: str) -> str | None:
    """Return advice for ONNX Runtime's error about a missing locale; None for other errors."""
    found = MISSING.search(error)
    if found is None:
        return None
    name = found[1]
    what = (
        f"its text operators (StringNormalizer) need the locale {displayed(name):.80}, which is not"
        " installed"
    )
    known = NAME.fullmatch(name)
    if known is None:
        # The name comes from the model file, so no command is built from it.
        return f"{what}; name another one in the attribute locale of the node, such as en_US.UTF-8"
    language, charset, variant = known[1], known[2] or "ISO-8859-1", known[3] or ""
    command = f"localedef -i {language}{variant} -f {charset} {name}"
    pack = language.partition("_")[0]
    return (
        f"{what}: apt-get install locales && {command} (Debian, Ubuntu),"
        f" dnf install glibc-langpack-{pack} (Fedora, RHEL), or docker build --build-arg"
        f' LOCALES="{language}" for the image; then restart the server'
    )
