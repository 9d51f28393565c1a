"""Holds recis.h against what belongs to it: check_header.py recis.h SOURCE...

Every field of a struct counts for recis_header_layout(), and every function is called by one of the sources.
Prints the functions and where each is called."""

import re
import sys

header = re.sub(r"/\*.*?\*/", "", open(sys.argv[1]).read(), flags=re.S)
problems = []

listed = set(re.findall(r"RECIS_FIELD\((\w+), (\w+)\)", header))
sized = set(re.findall(r"RECIS_SIZE\((recis_\w+)\)", header))
structs = re.findall(r"typedef struct (recis_\w+) \{(.*?)\} \1;", header, re.S)
for struct, body in structs:
    names = {(struct, name) for names in body.split(";") for name in re.findall(r"(\w+)\s*(?:,|$)", names.strip())}
    problems += [f"{struct}.{field} is not in recis_header_layout()" for _, field in sorted(names - listed)]
for name in re.findall(r"typedef (?:struct|enum) (recis_\w+) \{", header):
    if name not in sized:
        problems.append(f"{name} is not in recis_header_layout()")

functions = re.findall(r"^(?:int|int64_t|uint64_t|const char \*)\s*(recis_\w+)\([^)]*\);", header, re.M)
calls = {name: [] for name in functions}
for path in sys.argv[2:]:
    for number, line in enumerate(open(path), 1):
        for name in re.findall(r"\b(recis_\w+)(?=\()", line):
            # The first of each source says enough.
            if name in calls and not any(place.startswith(path + ":") for place in calls[name]):
                calls[name].append(f"{path}:{number}")
for name, places in calls.items():
    print(f"{name:<45} {' '.join(places) or 'MISSING'}")
problems += [f"{name} is called by no test" for name, places in calls.items() if not places]
declared = set(re.findall(r"\b(recis_\w+)\(", re.sub(r"static inline.*?\n\}", "", header, flags=re.S)))
problems += [f"{name} is declared in a way that this script does not read" for name in declared - set(functions)]
print(f"{len(functions)} functions, {len(structs)} structs", *problems, sep="\n")
sys.exit(1 if problems or not functions or not structs else 0)
