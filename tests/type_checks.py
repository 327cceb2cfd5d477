"""How the types of the module are checked while its tests run: jaxtyping's shapes, by beartype."""

import beartype

# PEP 484: where a float is asked for, an int will do.
checked = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))
