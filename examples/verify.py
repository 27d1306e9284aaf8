"""The verifier of mathematics and the sandbox, used from Python."""

from aha.rewards.sandbox.sandbox import Sandbox
from aha.rewards.verifier import MathVerifier

verifier = MathVerifier()
for gold, answer in [("1/2", r"\frac{2}{4}"), ("(x+1)^2", "x^2 + 2x + 1"), ("7", "7 or 8"), ("12", "9^9^9^9")]:
    verdict = verifier.compare(gold, answer)
    print(f"{answer!r} for {gold!r}: {verdict.kind}, {verdict.reason}")

with Sandbox() as sandbox:
    for program in ("print(sum(range(10)))", "import socket; socket.create_connection(('1.1.1.1', 53))"):
        execution = sandbox.run(program)
        said = (execution.output or execution.errors).strip().splitlines()[-1]
        print(f"{program!r}: {execution.status}, {said!r} in {execution.seconds:.2f} s")
