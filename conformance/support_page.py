"""docs/support.md: a page of sections, each of which a script writes by itself."""

import command

PAGE = command.REPOSITORY / "docs/support.md"
# In the order of the page.
TITLES = (
    "Models",
    "Layers",
    "Operations",
    "Applications",
    "TFLite files",
    "ONNX files",
    "Trained models",
)


def sections(text):
    """The head of a page, and its sections by title."""
    head, *parts = text.split("\n## ")
    return head.rstrip(), dict(part.rstrip().split("\n", 1) for part in parts)


def text_of(head, parts):
    """The page of a head and sections."""
    told = [f"## {title}\n{parts[title]}".rstrip() for title in TITLES if title in parts]
    return "\n\n".join([head, *told]) + "\n"


def put(title, lines):
    """Replaces a section of the page."""
    head, parts = sections(PAGE.read_text())
    parts[title] = "\n" + "\n".join(lines)
    PAGE.write_text(text_of(head, parts))
    print(f"written: {PAGE.relative_to(command.REPOSITORY)}")
