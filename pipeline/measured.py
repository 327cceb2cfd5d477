"""Sphinx extension: a page quotes what the notebooks measured, and a missing number is a warning.

The role `` {measured}`claim-id` `` (or `claim-id:case`) gives the mean and 95 % interval (the worst seed of a claim
about every seed).
"""

import os

from docutils import nodes
from results import SMOKE, load_results, measured_text
from sphinx.addnodes import pending_xref
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

logger = logging.getLogger(__name__)


class MeasuredRole(SphinxRole):
    """`claim-id` or `claim-id:case`, linked to the claim's raw values."""

    def run(self):
        claim_id, _, case = self.text.partition(":")
        try:
            text = measured_text(load_results().findings[claim_id], case)
        except KeyError:
            logger.warning("measured: no claim %r", claim_id, location=self.get_location())
            return [], []
        except ValueError as error:
            logger.warning("measured: %s: %s", claim_id, error, location=self.get_location())
            return [], []
        target = {"refdomain": "std", "reftype": "ref", "reftarget": f"claim-{claim_id}", "refexplicit": True}
        return [pending_xref("", nodes.inline(text, text), refdoc=self.env.docname, refwarn=True, **target)], []


def _check(app, config):
    results = load_results()
    for claim_id in results.missing:
        logger.warning("the notebook of the claim %r ran and recorded nothing for it", claim_id)
    for claim_id, finding in results.findings.items():
        if finding.cases and not finding.sizes:
            logger.warning("the claim %r was recorded without the sizes that it was run with", claim_id)
    said = [os.environ.get("EARLYTIME_BANNER", ""), "" if results.judged else SMOKE]
    if any(said):
        config.html_theme_options["announcement"] = " ".join(each for each in said if each)


def setup(app):
    app.connect("config-inited", _check)
    app.add_role("measured", MeasuredRole())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
