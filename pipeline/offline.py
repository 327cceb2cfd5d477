"""Sphinx extension: the finished book asks no other site for anything."""

from importlib.metadata import distribution

from docutils import nodes

MATHJAX = "tex-svg-full.js"


def _serve_mathjax(app, config):
    package = distribution("sphinx-mathjax-offline")
    script = package.locate_file(f"sphinx-mathjax-offline/static/mathjax/{MATHJAX}")
    config.html_static_path.append(str(script))
    config.mathjax_path = MATHJAX


def _only_where_there_is_math(app, pagename, templatename, context, doctree):
    # It is two megabytes, and Sphinx gives it to every page that leads to one with a formula.
    if app.builder.name != "html":
        return
    if doctree is None or not any(doctree.findall(lambda node: isinstance(node, nodes.math | nodes.math_block))):
        context["script_files"] = [script for script in context["script_files"] if MATHJAX not in str(script.filename)]


def _drop_thebe(app, config):
    # Its scripts load a CDN; its stylesheet, which every page links, stays.
    for listeners in app.events.listeners.values():
        listeners[:] = [
            listener
            for listener in listeners
            if listener.handler.__module__ != "sphinx_thebe" or listener.handler.__name__ == "st_static_path"
        ]


def setup(app):
    app.connect("config-inited", _serve_mathjax)
    app.connect("config-inited", _drop_thebe)
    app.connect("html-page-context", _only_where_there_is_math, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
