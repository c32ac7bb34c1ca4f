"""Programs that try to get out of the sandbox, or to use it up.

`ESCAPES` bind `answer` to what they got only if they got it: without an escape they end in an error, or in an answer
that holds nothing of the host. `BOMBS` never end, or need more than there is.
"""

from __future__ import annotations

import re

_MODULES = """
_ctypes _io _posixsubprocess _thread atexit builtins cffi code codeop concurrent.futures ctypes curses dbm
faulthandler fcntl ftplib gc glob http.client http.server imp importlib importlib.util inspect linecache
logging marshal mmap multiprocessing nt numpy operator pdb pickle pkgutil platform posix pty pwd
pydantic_monty requests resource runpy select selectors serving shelve shutil signal site smtplib socket
socketserver sqlite3 ssl subprocess sysconfig tempfile termios threading traceback tty types urllib.request
weakref webbrowser xml.etree.ElementTree zipimport
""".split()  # noqa: SIM905

_EXPRESSIONS = {
    # Files.
    "open-read": "open('/etc/passwd').read()",
    "open-relative": "open('../../../../etc/passwd').read()",
    "open-nul": "open('/etc/passwd\\0.txt').read()",
    "open-bytes": "open(b'/etc/passwd', 'rb').read()",
    "open-descriptor": "open(0).read()",
    "open-descriptor-out": "open(1, 'w').write('ESCAPED')",
    "open-write": "open('/tmp/escaped', 'w').write('ESCAPED')",
    "open-environ": "open('/proc/self/environ').read()",
    "open-memory": "open('/proc/self/mem', 'rb').read(10)",
    "open-maps": "open('/proc/self/maps').read()",
    "open-parent": "open('/proc/1/environ').read()",
    "pathlib-read": "__import__('pathlib').Path('/etc/passwd').read_text()",
    "io-open": "__import__('io').open('/etc/passwd').read()",
    # The operating system.
    "os-system": "__import__('os').system('id')",
    "os-popen": "__import__('os').popen('id').read()",
    "os-exec": "__import__('os').execv('/bin/sh', ['sh'])",
    "os-fork": "__import__('os').fork()",
    "os-kill": "__import__('os').kill(1, 0)",
    "os-environ": "dict(__import__('os').environ)",
    "os-getenv": "__import__('os').getenv('PLANTED') or 1 / 0",
    "os-listdir": "__import__('os').listdir('/')",
    "os-scandir": "[e.name for e in __import__('os').scandir('/')]",
    "os-stat": "__import__('os').stat('/etc/passwd').st_size",
    "os-remove": "__import__('os').remove('/tmp/escaped')",
    "os-urandom": "__import__('os').urandom(8)",
    "os-posix-spawn": "__import__('os').posix_spawn('/bin/sh', ['sh'], {})",
    "sys-modules": "__import__('sys').modules",
    "sys-path": "__import__('sys').path",
    "sys-frame": "__import__('sys')._getframe().f_back",
    "sys-settrace": "__import__('sys').settrace(print)",
    # Walks over double underscores.
    "mro": "().__class__.__mro__[1].__subclasses__()",
    "bases": "().__class__.__bases__[0].__subclasses__()",
    "base": "''.__class__.__base__.__subclasses__()",
    "type-subclasses": "type.__subclasses__(type)",
    "object-reduce": "object.__reduce_ex__(1, 4)",
    "globals-of-function": "(lambda: 0).__globals__",
    "code-of-function": "(lambda: 0).__code__.co_code",
    "closure": "(lambda x: lambda: x)(1).__closure__",
    "builtins-of-print": "print.__self__",
    "builtins-name": "__builtins__",
    "loader": "__loader__",
    "spec": "__spec__",
    "generator-frame": "(i for i in [1]).gi_frame.f_back",
    "coroutine-frame": "(lambda: (yield))().gi_frame.f_globals",
    "exception-frame": "ZeroDivisionError().__traceback__.tb_frame",
    "module-dict": "__import__('math').__dict__['__loader__']",
    "module-builtins": "__import__('json').__builtins__",
    "module-codecs": "__import__('json').codecs.builtins",
    "module-os": "__import__('re').enum.sys.modules",
    "getattr-chain": "getattr(getattr(getattr((), '__cla' + 'ss__'), '__ba' + 'se__'), '__subcl' + 'asses__')()",
    "getattr-joined": "getattr('', ''.join(['__', 'class', '__'])).__mro__[1].__subclasses__()",
    "vars": "vars(__import__('math'))",
    "globals": "globals()['__builtins__']",
    "locals": "locals()['__builtins__']",
    "attrgetter": "__import__('operator').attrgetter('__class__.__mro__')('')[1].__subclasses__()",
    "format-class": "'{0.__class__.__mro__[1].__subclasses__}'.format('')",
    "format-globals": "'{0.__globals__}'.format(lambda: 0)",
    "format-init": "'{0.__init__.__globals__}'.format(ValueError())",
    "format-map": "'{x.__class__.__base__.__subclasses__}'.format_map({'x': 1})",
    "format-spec": "f'{(lambda: 0).__globals__}'",
    # Code from text.
    "eval-import": "eval(\"__import__('socket')\")",
    "exec-import": "exec('import socket') or 'ESCAPED'",
    "exec-nested": "exec('exec(\"import subprocess\")') or 'ESCAPED'",
    "compile-exec": "exec(compile('import ctypes', 'x', 'exec')) or 'ESCAPED'",
    "code-object": "type((lambda: 0).__code__)(0, 0, 0, 0, 0, 0, b'', (), (), (), '', '', 0, b'')",
    "function-type": "type(lambda: 0)(compile('1', 'x', 'eval'), {})",
    "pickle": "__import__('pickle').loads(b\"cos\\nsystem\\n(S'id'\\ntR.\")",
    "marshal": "__import__('marshal').loads(b'\\xe3')",
    "breakpoint": "breakpoint() or 'ESCAPED'",
    "input": "'ESCAPED' + input()",
    "help": "help('modules') or 'ESCAPED'",
    "license": "license() or 'ESCAPED'",
    "memory-view": "memoryview(bytearray(8)).cast('P')[0]",
    "bytes-address": "__import__('ctypes').string_at(id(b'x'), 64)",
    # Other spellings of the same names.
    "unicode-import": "__ｉｍｐｏｒｔ__('ｓocket'.casefold())",
    "unicode-open": "ｏｐｅｎ('/etc/passwd').read()",
    "unicode-attribute": "().__ｃｌａｓｓ__.__ｂａｓｅ__.__subclasses__()",
    "asyncio-subprocess": "__import__('asyncio').create_subprocess_shell('id')",
    "asyncio-connection": "__import__('asyncio').open_connection('127.0.0.1', 80)",
    "asyncio-loop": "__import__('asyncio').get_event_loop().run_in_executor(None, print)",
}

_PROGRAMS = {
    "class-del": """
class A:
    def __del__(self):
        import socket
        print("ESCAPED")
a = A()
del a
""",
    "getattribute": """
class A:
    def __getattribute__(self, name):
        return open
answer = A().anything("/etc/passwd").read()
""",
    "metaclass": """
class M(type):
    def __prepare__(name, bases):
        return __builtins__
class A(metaclass=M):
    pass
answer = A.__dict__["open"]("/etc/passwd").read()
""",
    "descriptor": """
class D:
    def __get__(self, instance, owner):
        return owner.__mro__[-1].__subclasses__()
class A:
    d = D()
answer = [c for c in A.d if "Popen" in c.__name__][0]("id")
""",
    "exception-chain": """
try:
    1 / 0
except ZeroDivisionError as e:
    answer = e.__traceback__.tb_frame.f_globals["__builtins__"]["open"]("/etc/passwd").read()
""",
    "decorator": """
@print.__class__
def f():
    pass
answer = f.__self__.open("/etc/passwd").read()
""",
    "string-subclass": """
class S(str):
    def __format__(self, spec):
        return open("/etc/passwd").read()
answer = f"{S('x')}"
""",
    "rebound-str": """
str = lambda x: open("/etc/passwd").read()
repr = str
type = str
answer = str(1)
""",
    "ending-names": """
_headrace_value = None
_headrace_solution = open
solution = lambda: open("/etc/passwd").read()
""",
    "hidden-solution": """
def solution():
    return __import__("subprocess").check_output("id")
""",
    "walrus": "[answer := m for m in [__import__('sys').modules] if m]",
    "match-class": """
match open:
    case object(__class__=c):
        answer = c.__mro__[-1].__subclasses__()[0]
""",
    "async-import": """
import asyncio
async def main():
    import socket
    return "ESCAPED"
answer = asyncio.run(main())
""",
    "generator-throw": """
def g():
    try:
        yield
    except BaseException as e:
        yield e.__traceback__.tb_frame.f_builtins
i = g()
next(i)
answer = i.throw(ValueError("x"))
""",
    "with-exit": """
class C:
    def __enter__(self):
        return self
    def __exit__(self, kind, error, trace):
        global answer
        answer = trace.tb_frame.f_globals["__builtins__"]
        return True
with C():
    1 / 0
""",
    "sort-key-mutates": """
x = list(range(1000))
def key(v):
    x.clear()
    x.extend([object()] * 10)
    return v
try:
    x.sort(key=key)
except ValueError:
    pass
answer = x[0].__class__.__subclasses__()
""",
    "dict-mutates-itself": """
class K:
    def __hash__(self): return 1
    def __eq__(self, other):
        d.clear()
        return False
d = {}
for i in range(100):
    d[K()] = i
answer = d.__class__.__subclasses__()[0]
""",
    "iterator-invalidated": """
x = [0] * 100
i = iter(x)
next(i)
x.clear()
x += [open] * 3
answer = [f("/etc/passwd").read() for f in i]
""",
    "comparison-mutates": """
x = []
class A:
    def __lt__(self, other):
        x.clear()
        return True
x += [A() for _ in range(100)]
x.sort()
answer = x[0].__lt__.__globals__
""",
    "exit-inside": "import sys\nsys.exit()\nanswer = 'ESCAPED'",
    "system-exit": "raise SystemExit(0)",
    "keyboard-interrupt": "raise KeyboardInterrupt",
    "assertion-text": "assert open('/etc/passwd').read() == ''",
    "type-comment": "# -*- coding: utf-7 -*-\n+AG8-pen('/etc/passwd')",
    "null-byte": "answer = 1\0\nimport socket\nanswer = 'ESCAPED'",
    "surrogate": "answer = '\ud800'\nimport socket\nanswer = 'ESCAPED'",
    "form-feed": "\fimport\fsocket\nanswer = 'ESCAPED'",
    "line-separator": "# \u2028import socket\nimport\u00a0ctypes\nanswer = 'ESCAPED'",
    "right-to-left": "x = '\u202e'\nimport socket # \u202d\nanswer = 'ESCAPED'",
    "carriage-return": "# comment\rimport socket\ranswer = 'ESCAPED'",
}


def _importing(expression: str) -> str:
    """The same with import statements: the sandbox has them, and `__import__` it has not."""
    modules = re.findall(r"__import__\('(\w+)'\)", expression)
    lines = [f"import {module}" for module in dict.fromkeys(modules)]
    return "\n".join([*lines, "answer = " + re.sub(r"__import__\('(\w+)'\)", r"\1", expression)])


ESCAPES = {
    **{f"import-{name}": f"import {name}\nanswer = 'ESCAPED'" for name in _MODULES},
    **{name: f"answer = {expression}" for name, expression in _EXPRESSIONS.items()},
    **{f"{n}-by-import": _importing(e) for n, e in _EXPRESSIONS.items() if "__import__(" in e},
    **_PROGRAMS,
}

_DEEP = 20_000

BOMBS = {
    # Time.
    "loop": "while True: pass",
    "loop-that-catches": "while True:\n try:\n  while True: pass\n except BaseException: pass",
    "loop-in-finally": "try:\n 1/0\nfinally:\n while True: pass",
    "loop-in-solution": "def solution():\n while True: pass",
    "loop-in-str": "class A:\n def __str__(self):\n  while True: pass\nA()",
    "loop-in-repr": "class A:\n def __repr__(self):\n  while True: pass\n[A()]",
    "loop-in-iterator": "def g():\n while True: yield 1\nsum(g())",
    "loop-in-key": "def k(x):\n while True: pass\nsorted([2, 1], key=k)",
    "loop-in-builtin": "sum(range(10**12))",
    "loop-in-any": "any(i < 0 for i in range(10**12))",
    "loop-in-in": "-1 in range(10**18) or [i for i in range(10**12) if i < 0]",
    "generator-send": "def g():\n while True: yield\ni = g()\nnext(i)\nwhile True: i.send(1)",
    "itertools": "import itertools\nfor i in itertools.count(): pass",
    "product": "import itertools\nsum(1 for _ in itertools.product(range(100), repeat=20))",
    "permutations": "import itertools\nmax(itertools.permutations(range(15)))",
    "ackermann": "def a(m, n):\n return n+1 if not m else a(m-1, 1) if not n else a(m-1, a(m, n-1))\na(4, 2)",
    "fibonacci": "def f(n): return n if n < 2 else f(n-1) + f(n-2)\nf(60)",
    "async-loop": "import asyncio\nasync def f():\n while True: await asyncio.sleep(0)\nasyncio.run(f())",
    "async-gather": "import asyncio\nasync def f():\n"
    " while True: pass\nasync def m(): await asyncio.gather(f(), f())\nasyncio.run(m())",
    "sleep-for-ever": "import time\nwhile True: time.sleep(1000)",
    # Integers.
    "power": "x = 10 ** 10 ** 10",
    "power-of-powers": "x = 9 ** 9 ** 9 ** 9",
    "pow": "x = pow(7, 10 ** 10)",
    "negative-power": "x = (-3) ** (2 ** 40)",
    "shift": "x = 1 << 10 ** 12",
    "squaring": "x = 3\nwhile True: x = x * x",
    "factorial": "import math\nx = math.factorial(10 ** 9)",
    "product-of-factors": "x = 1\nfor i in range(1, 10**9): x *= i",
    "comb": "import math\nx = math.comb(10**9, 5 * 10**8)",
    "division": "x = 10 ** 2_000_000\nwhile True: x // (10 ** 1_000_000 + 7)",
    "to-text": "str(10 ** 1_000_000)",
    "from-text": "int('9' * 5_000_000)",
    "lcm": "import math\nx = 1\nfor i in range(1, 10**9): x = math.lcm(x, i)",
    "decimal": "from decimal import Decimal, getcontext\ngetcontext().prec = 10**8\n"
    "x = Decimal(1) / Decimal(7)\nwhile True: x = x * x",
    # Memory.
    "text": "x = 'x' * 10 ** 10",
    "text-doubled": "x = 'x'\nwhile True: x += x",
    "bytes": "x = b'x' * 10 ** 10",
    "bytearray": "x = bytearray(10 ** 10)",
    "list": "x = [0] * 10 ** 10",
    "list-of-lists": "x = []\nwhile True: x = [x, x] + [0] * 1000; x.append(list(x))",
    "append": "x = []\nwhile True: x.append('x' * 1000)",
    "extend-itself": "x = [1]\nwhile True: x.extend(x)",
    "comprehension": "x = [[i] * 10000 for i in range(10**9)]",
    "dict": "d = {}\ni = 0\nwhile True:\n d[i] = str(i)\n i += 1",
    "set": "s = set()\ni = 0\nwhile True:\n s.add(i)\n i += 1",
    "tuple": "x = ()\nwhile True: x = x + (1,) * 1000",
    "join": "x = ','.join(['x' * 10**6] * 10**6)",
    "replace": "x = ('a' * 10**6).replace('a', 'b' * 10**6)",
    "ljust": "x = 'x'.ljust(10 ** 10)",
    "format-width": "x = f'{1:{10**10}}'",
    "format-percent": "x = '%10000000000d' % 1",
    "format-method": "x = '{:>10000000000}'.format(1)",
    "format-digits": "x = f'{1.5:.1000000000f}'",
    "expandtabs": "x = ('\\t' * 1000).expandtabs(10**9)",
    "zfill": "x = '1'.zfill(10 ** 10)",
    "center": "x = 'x'.center(10 ** 10)",
    "to-bytes": "x = (1).to_bytes(10 ** 10, 'big')",
    "range-to-list": "x = list(range(10 ** 12))",
    "sorted": "x = sorted(range(10 ** 12))",
    "zip": "x = list(zip(range(10**12), range(10**12)))",
    "enumerate": "x = list(enumerate(range(10**12)))",
    "map": "x = list(map(str, range(10**12)))",
    "splitting": "x = ('a ' * 20_000_000).split()",
    "encoding": "x = ('é' * 20_000_000).encode('utf-16') * 100",
    "exceptions": "x = []\nwhile True:\n try:\n  raise ValueError('x' * 10000)\n except ValueError as e: x.append(e)",
    "exception-groups": "e = ValueError()\nwhile True: e = ValueError(e, 'x' * 1000)",
    "closures": "f = lambda: 0\nwhile True: f = (lambda g, x: lambda: (g, x))(f, 'x' * 1000)",
    "instances": "class A: pass\nx = []\nwhile True:\n a = A()\n a.b = 'x' * 100\n x.append(a)",
    "json": "import json\nx = json.dumps(['x' * 10**6] * 1000)",
    "deep-list-memory": "x = []\nwhile True: x = [x]",
    "cache": "import functools\n@functools.lru_cache(None)\ndef f(n): return 'x' * 10000 + str(n)\n"
    "i = 0\nwhile True:\n f(i)\n i += 1",
    "del-that-revives": "x = []\nclass A:\n def __del__(self):\n"
    "  x.append(A())\n  x.append('x' * 10**7)\nwhile True: A(); x.append('x' * 10**6)",
    # Recursion.
    "recursion": "def f(): return f()\nf()",
    "recursion-lambda": "f = lambda n: f(n + 1) + f(n)\nf(0)",
    "recursion-str": "class A:\n def __str__(self): return str(self)\nstr(A())",
    "recursion-repr": "class A:\n def __repr__(self): return repr([self])\nrepr(A())",
    "recursion-eq": "class A:\n def __eq__(self, o): return self == o\nA() == A()",
    "recursion-getattr": "class A:\n def __getattr__(self, n): return getattr(self, n + 'x')\nA().b",
    "recursion-property": "class A:\n @property\n def b(self): return self.b\nA().b",
    "recursion-generator": "def g(): yield from g()\nlist(g())",
    "recursion-mutual": "def f(): return g()\ndef g(): return f()\nf()",
    "recursion-that-catches": "def f():\n try: return f()\n except RecursionError: return f()\nf()",
    "recursion-exec": "exec(s := 'exec(s)')",
    # Output.
    "print-flood": "while True: print('x' * 1000)",
    "print-flood-that-catches": "while True:\n try: print('x' * 1000)\n except BaseException: pass",
    "print-one": "print('x' * 10_000_000)",
    "print-many-short": "while True: print()",
    "print-no-end": "while True: print('x', end='')",
    "print-nested": "x = ['y' * 1000] * 1000\nprint(x)",
    "long-answer": "'x' * 10_000_000",
    "long-list": "list(range(100_000))",
    "long-error": "raise ValueError('x' * 10_000_000)",
    "long-name": f"{'x' * 60_000}",
    # Source.
    "deep-parentheses": "(" * _DEEP + ")" * _DEEP,
    "deep-lists": "[" * _DEEP + "]" * _DEEP,
    "deep-dicts": "{1:" * _DEEP + "1" + "}" * _DEEP,
    "deep-minus": "-" * _DEEP + "x",
    "deep-not": "not " * 10_000 + "x",
    "deep-sum": "x" + "+x" * _DEEP,
    "deep-attributes": "x" + ".x" * _DEEP,
    "deep-calls": "x" + "()" * _DEEP,
    "deep-subscripts": "x" + "[0]" * _DEEP,
    "deep-lambda": "lambda:" * 9000 + "x",
    "deep-if": "x if x else " * 5000 + "x",
    "deep-power": "x" + "**x" * _DEEP,
    "deep-comparison": "x" + "<x" * _DEEP,
    "deep-and-or": "x and (y or " * 5000 + "x" + ")" * 5000,
    "deep-blocks": "".join(" " * i + "if 1:\n" for i in range(340)) + " " * 340 + "x",
    "deep-strings": "f'{" * 5000 + "x" + "}'" * 5000,
    "deep-await": "await " * 10_000 + "x",
    "deep-walrus": "(x:=" * 10_000 + "y" + ")" * 10_000,
    "deep-comprehension": "[x " + "for x in x " * 5000 + "]",
    "deep-decorators": "@x\n" * 20_000 + "def f(): pass",
    "deep-elif": "if x: pass\n" + "elif x: pass\n" * 4500,
    "too-long": "x = 1\n" * 100_000,
}
"""Each must end in an error or a limit."""

HARMLESS = {
    "regular-expression": "import re\nre.match('(a+)+$', 'a' * 40 + 'b')",
    "regular-expression-alternatives": "import re\nre.match('(a|aa)+$', 'a' * 60 + 'b')",
    "regular-expression-nested": "import re\nre.search('((a*)*)*c', 'a' * 50)",
    "regular-expression-count": "import re\nre.match('(a{1,1000}){1,1000}', 'a' * 1000)",
    "long-sleep": "import time\ntime.sleep(10 ** 9)",
    "async-sleep": "import asyncio\nasyncio.run(asyncio.sleep(10 ** 9))",
    "cycle": "x = []\nx.append(x)\nx",
    "cycle-of-dicts": "d = {}\nd['d'] = d\nd",
    "cycle-of-instances": "class A: pass\na = A()\na.a = a\na.b = [a]\nNone",
    "deep-value": "x = []\nfor i in range(100_000): x = [x]\nx",
    "deep-value-hash": "x = ()\nfor i in range(100_000): x = (x,)\nhash(x)",
    "deep-value-equal": "x = []\ny = []\nfor i in range(100_000):\n x = [x]\n y = [y]\nx == y",
    "deep-value-dropped": "x = []\nfor i in range(500_000): x = [x]\nx = None",
    "deep-closure-dropped": "f = None\nfor i in range(100_000): f = (lambda g: lambda: g)(f)\nf = None",
    "deep-generator": "g = iter([1])\nfor i in range(5000): g = (x for x in g)\nlist(g)",
    "hash-collisions": "x = {i * (2**61 - 1) for i in range(20_000)}\nlen(x)",
    "sort-by-random": "import random\nsorted(range(1000), key=lambda x: random.random())[0] >= 0",
    "float-overflow": "1e308 * 10",
    "not-a-number": "sorted([float('nan'), 1.0, float('nan')])",
    "json-deep": "import json\njson.loads('[' * 100_000)",
    "empty": "",
    "comment": "# nothing",
    "only-spaces": " \t ",
}
"""Each ends, whichever way, and soon."""
