"""Sphinx extension: while the repository has no public address, no page has a button that leads there."""

from address import PLACEHOLDER, split_address


def _drop_buttons(app, config):
    options = config.html_theme_options
    if split_address(options["repository_url"])[0] == PLACEHOLDER:
        buttons = ("use_repository_button", "use_edit_page_button", "use_issues_button")
        options |= {"launch_buttons": {}, **dict.fromkeys(buttons, False)}


def setup(app):
    app.connect("config-inited", _drop_buttons)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
