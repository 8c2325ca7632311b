"""One function per step; steps hand over files of a run folder."""
