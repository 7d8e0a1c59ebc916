"""The run log: one SQLite file that holds everything a run saw, asked, was told and concluded.

`run_log.py` opens one; each other module has the functions of one table or two, which `RunLog.read` and `write` call.
"""
