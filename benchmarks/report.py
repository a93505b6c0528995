from pathlib import Path
def write(results, folder):
    return folder
