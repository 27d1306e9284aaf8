"""Answers that try to hang, crash or deceive a verifier of mathematics."""

import random

__all__ = ["GOLDS", "KINDS", "hostile"]


def hostile(generator: random.Random, kind: str) -> str:  # noqa: C901  # a case for each kind
    """One answer of a kind."""
    n, deep = generator.randrange(2, 10**6), generator.choice([5, 20, 100, 2000])
    digits = generator.choice([30, 300, 3_000, 100_000])
    match kind:
        case "tower":
            return generator.choice(["^{9", "^{x", "^{10^{9"]).join(["9"] * generator.randrange(3, 7)) + "}" * deep
        case "closed tower":
            height = generator.randrange(2, 9)
            return f"{n % 89 + 2}^{{" * height + "9" + "}" * height
        case "python tower":
            return "**".join(["10"] * generator.randrange(2, 9))
        case "digits":
            return f"{generator.choice(['', '-', '0.', '1/'])}{'7' * digits}{generator.choice(['', 'x', '!', '%'])}"
        case "brackets":
            return "".join(generator.choice("()[]{}") for _ in range(deep))
        case "nesting":
            return "(" * deep + "x" + ")" * deep
        case "nested roots":
            return "\\sqrt{" * (deep % 97) + f"{n}" + "}" * (deep % 97)
        case "nested fractions":
            return "\\frac{1}{1+" * (deep % 83) + "x" + "}" * (deep % 83)
        case "control":
            return "".join(chr(generator.randrange(32)) for _ in range(9)) + str(n)
        case "unicode":
            return "".join(chr(generator.choice([0x660, 0x966, 0xFF10, 0x1D7CE]) + n % 10) for _ in range(3))
        case "code":
            return generator.choice(CODE).replace("N", str(n))
        case "tex":
            return generator.choice(TEX).replace("N", str(n))
        case "calls":
            return generator.choice(CALLS).replace("N", str(n))
        case "matrix":
            size = generator.choice([2, 5, 20, 60])
            row = "&".join(str(n % 97 + column) for column in range(size))
            return "\\begin{pmatrix}" + "\\\\".join([row] * size) + "\\end{pmatrix}"
        case "list":
            return ",".join(str(generator.randrange(99)) for _ in range(deep))
        case "polynomial":
            return f"(x+{n % 7}y+\\sqrt{{{n % 11}}})^{{{generator.choice([3, 50, 999, 10**9])}}}"
        case "trigonometry":
            return "+".join(f"\\sin^{k}({n % 9}x)\\cos({k}x)" for k in range(2, generator.choice([4, 9, 25])))
        case "equation":
            return f"x^{n % 37 + 3}+{n % 97}x+y=\\sqrt{{x}}"
        case "symbolic":
            return f"{n % 97}\\sqrt{{{n % 97 + 2}}}+\\pi^{{{n % 5}}}"
        case _:
            alphabet = "0123456789abxyz+-*/^_(){}[]\\,.=<>&%$#@!~ \n'\""
            return "".join(generator.choice(alphabet) for _ in range(generator.randrange(1, 120)))


CODE = (
    "__import__('os').system('touch ESCAPED')",
    'exec(\'open("ESCAPED","w")\')',
    "lambda: N",
    "open('ESCAPED','w').write('N')",
    "(lambda f: f(f))(lambda f: f(f))",
    "[x for x in ().__class__.__base__.__subclasses__()]",
    "sympify('N')",
    "print(N); exit()",
    "\\text{__import__('os').system('touch ESCAPED')}",
)
TEX = (
    "\\input{/etc/passwd}",
    "\\write18{touch ESCAPED}",
    "\\immediate\\write18{touch ESCAPED}N",
    "\\openout1=ESCAPED",
    "\\def\\x{\\x\\x}\\x",
    "\\csname N\\endcsname",
    "\\loop\\iftrue\\repeat",
    "\\boxed{\\boxed{\\boxed{N}}}",
)
CALLS = (
    "N!",
    "N!!!!",
    "\\binom{N}{999}",
    "\\gcd(N,N^{N})",
    "\\sum_{k=1}^{N} k^k",
    "\\prod_{k=1}^{N} k",
    "\\int_0^N e^{x^x} dx",
    "\\lim_{x\\to 0} \\frac{\\sin(x^N)}{x}",
    "\\log_{N}(\\log(N^{N}))",
    "\\sin(\\cos(\\tan(N^{N})))",
    "\\sqrt[N]{N^N+x}",
    "N^{N}",
    "(N^{N})^{N}",
    "e^{N^{N}}",
    "x^{N}-1",
)
KINDS = (
    "tower", "closed tower", "python tower", "digits", "brackets", "nesting", "nested roots", "nested fractions",
    "control", "unicode", "code", "tex", "calls", "matrix", "list", "polynomial", "trigonometry", "equation",
    "symbolic", "noise",
)  # fmt: skip
GOLDS = ("5", "\\frac{3}{4}", "\\text{(C)}", "2\\sqrt{3}+\\pi", "x^2+3x-1", "(1,\\sqrt{2})", "x=\\sqrt{5}", "[1,\\pi)")
