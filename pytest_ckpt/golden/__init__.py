"""Goldens: small checkpoints kept in the repository, which today's code must still load.

A golden is a checkpoint as the code wrote it at that time, with what the module gave for some inputs. Every generation
of them (`v1`, `v2`) is held against today's code by what `check_compatibility` does.
"""

#: Bytes of a state_dict up to which a checkpoint is kept beside the manifest.
MOST_BYTES = 2**20
