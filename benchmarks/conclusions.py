def conclusions(r): return ""
def quotable(r): return {}
