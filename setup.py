"""The wheel carries the book, copied from its one place while the wheel is built."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

IN_THE_WHEEL = Path("lecore", "companion", "carried")
"""Where ``lecore.companion.project.project_root`` looks for it."""


class WithBook(build_py):
    """Builds the package, and a copy of the book inside it; a checkout needs none."""

    def run(self) -> None:
        """Copy what git holds of the book, and its two configuration files."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / IN_THE_WHEEL
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree("book", target / "book", ignore=shutil.ignore_patterns(".*", "*.ipynb"))
        for name in ("_config.yml", "_toc.yml"):
            shutil.copy(name, target)


setup(cmdclass={"build_py": WithBook})
