"""Answers against references: what is the same in other notation, what is near and wrong, and the limits."""

import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.rewards.math.arithmetic import TooLargeError
from aha.rewards.math.comparison import difference
from aha.rewards.math.reading.grammar import read
from aha.rewards.math.reading.tokens import MAX_CHARS, UnreadableError, is_balanced, plain_text

EQUAL = [
    ("5", "5.0"), ("5", "5."), ("5", "+5"), ("-5", "- 5"), ("5", "05"), ("5", "$5$"), ("5", r"\(5\)"), ("5", r"\$5"),
    ("5", "$5"), ("-3", "−3"), ("1234", "1,234"), ("1234", "1{,}234"), ("1234", r"1\,234"), ("10,\\!080", "10080"),
    ("11,\\! 111,\\! 111,\\! 100", "11111111100"), ("1234567.5", "1,234,567.50"), ("0.5", ".5"), ("0.5", r"\frac12"),
    ("0.5", "1/2"), (r"\frac{1}{2}", r"\dfrac{2}{4}"), (r"\frac43", r"\tfrac{4}{3}"), (r"\frac 59", "5/9"),
    (r"\frac9{19}", "9/19"), (r"-\frac{1}{2}", r"\frac{-1}{2}"), (r"1\frac{4}{5}", "1.8"),
    (r"137 \frac{1}{2}", "137.5"),
    ("3/2", "1 1/2"), (r"-1\frac12", "-1.5"), ("6000", r"6 \times 10^3"), ("0.0000672", r"6.72 \times 10^{-5}"),
    ("1000", "10^3"), ("1200", "1.2e3"), ("50\\%", "0.5"), ("50%", "50"), ("50", "50\\%"), (r"\frac{1}{2}", "50%"),
    ("5", "5 apples"), ("5", r"5\text{ cm}"), ("90^\\circ", "90"), ("90", "90 degrees"), ("90°", r"90^{\circ}"),
    (r"864 \mbox{ inches}^2", r"864\text{ square inches}"), (r"15\mbox{ cm}^2", "15"), (r"\$18.90", "18.9"),
    ("5", "5 miles per hour"), (r"5.4 \text{ cents}", "5.4 cents"), ("2000000", "2 million"),
    (r"\frac{1}{3}", "0.333333"),
    (r"\frac{2}{3}", "0.666667"), (r"\frac{2}{3}", "0.666666"), ("52_8", "52_{8}"), ("52_8", "52"),
    (r"\text{Evelyn}", "evelyn"), (r"\text{east}", r"\textbf{East}"), 
    
    ("(6,31,-1)", r"\left( 6, 31, -1 \right)"),
    ("(3,4]", r"\left(3, 4\right]"),
    (r"(-\infty, 0]", r"(-\infty,0.0]"), ("1,-2", "-2, 1"), ("1,-2", r"\{1,-2\}"), ("1,-2", "x=1, x=-2"),
    ("1,-2", r"1 \text{ and } -2"), ("1,-2", r"x = 1 \text{ or } x = -2"), (r"\{1,2\}", r"\{2,1,1\}"),
    ("(1,2)", "1, 2"),
    ("5", "{,}5".replace("{,}", "")), (r"(1,\frac12)", "(1,0.5)"), ("0", "-0"), ("5", "**5**"),
]  # fmt: skip

DIFFERENT = [
    ("5", "6"), ("5", "-5"), ("5", "5.0000001"), ("5", "50"), ("1234", "1,23"), ("1234", "1.234"), ("12", "1,2"),
    (r"\frac{1}{3}", "0.33"), (r"\frac{1}{3}", "0.33333"), (r"\frac{1}{3}", "0.3333334"), (r"\frac{2}{3}", "-0.666667"),
    ("0.0000672", "0.0000671"), ("0.0000672", "0"), (r"1\frac{4}{5}", "0.8"), (r"1\frac{4}{5}", r"\frac{14}{5}"),
    ("1", "1%"), ("0.5", "0.5%"), ("50%", "5"), ("52_8", "52_9"), ("52", "52_8"), ("52_8", "42"), ("(1,2)", "(2,1)"),
    ("(1,2)", "[1,2]"), ("(1,2)", r"\{1,2\}"), ("(3,4]", "[3,4]"), ("1,-2", "1"), ("1,-2", "1,2"), ("1,1,2", "1,2,2"),
    ("(1,2)", "(1,2,3)"), (r"(-\infty,0]", r"(\infty,0]"), (r"\text{east}", r"\text{west}"), (r"\text{(C)}", "(D)"),
    ("5 cents", "5 dollars"), (r"\$5", "5 cents") , ("15 cm", r"15\text{ cm}^2"), ("5", "5,5"),
    ("5", "5 million"), ("1000", "1"),
]  # fmt: skip

KINDS_PAID_WRONGLY = {
    "letters in brackets behind a name": ("x", "x (abc)"),
    "letters in brackets close to a number": ("9", "9(abc)"),
    "a sum is worth its lower limit": (r"\sum_{k=1}^{n} a_k", "1"),
    "a product is worth its lower limit": (r"\prod_{k=2}^{n} a_k", "2"),
    "an inequality of the question": ("[-2,7]", r"x^2-5x-4 \le 10"),
    "an absolute value of the question": ("5", "|-5|"),
    "a determinant written out": ("-3", r"\begin{vmatrix} 1 & 2 \\ 3 & 3 \end{vmatrix}"),
    "a determinant of a name": ("-3", r"\det\begin{pmatrix} 1 & 2 \\ 3 & 3 \end{pmatrix}"),
    "a value of a function": (r"\frac{\sqrt{3}}{2}", r"\sin 60^\circ"),
    "an equation of the question": ("x=5", "2x=10"),
    "a factor that is another letter": (r"\pi(R^2-r^2)", "0"),
    "letters that cancel in another case": (r"\frac{r}{R}", "1"),
    "a letter in another case": ("R", "r"),
    "a variable cut off as a unit": ("x+2m", "x+2"),
    "a letter cut off as a unit": ("2", "2d"),
    "another unit close to its number": ("4km", "4m"),
    "equations without real solutions": ("x^2+121=0", "x^2+50=0"),
    "identities": ("x+1=x+1", "x=x"),
    "a comma with a blank after it": ("40, 200", "40200"),
    "tiny numbers": (r"\frac{1}{2^{99}}", r"\frac{1}{2^{98}}"),
    "tiny numbers with pi": (r"\frac{\pi}{2^{99}}", r"\frac{\pi}{2^{98}}"),
    "an endless set": (r"\{1,2,3\}", r"\{1,2,3,\ldots\}"),
    "a word that changes the number": ("5", r"5\text{ squared}"),
    "a word that changes the number, outside": ("5", "5 cubed"),
    "an inequality turned round": ("2x+y<3", "2x+y>3"),
    "a subscript": ("x_1+1", "x_2+1"),
    "a prime": ("f'", "f"),
    "another limit": (r"\sum_{k=1}^{n} k", r"\sum_{k=2}^{n} k"),
    "another hole": (r"x \ne 0", r"x \ne 1"),
    "more values than unknowns": ("m=1, n=3", "(m,n)=(1,2,3)"),
    "fewer values than unknowns": ("(m,n)=(1,3,2)", "m=1, n=3"),
    "a floor that is left out": (r"\lfloor x\rfloor", "x"),
    "a largest value with one more": (r"\max(a,b)", r"\max(a,b,0)"),
    "a small number lost beside a huge one": (r"2^{100}+\sqrt{2}", "2^{100}"),
    "a tiny number more": (r"\pi", r"\pi+10^{-40}"),
    "one more than a high power": ("x^{2018}+1", "x^{2018}"),
    "an even power of minus one": ("(-1)^n", "1^n"),
    "dots behind a list": ("1,2,3", "1,2,3..."),
    "dots behind a comma": ("1,2,3", "1,2,3,..."),
    "dots behind a whole number": ("5", "5..."),
    "an approximation that is another number": ("5", r"5 \approx 6"),
    "a percentage of a mixed number": (r"\frac{33}{300}", r"33\frac13\%"),
    "a percentage of a typed fraction": (r"\frac{100}{3}", "1/3%"),
    "a word of doubt": ("5", "5 perhaps"),
    "a word for another answer": ("5", "5 alternatively"),
    "a scale of another country": ("5", "5 lakh"),
    "a denial as a name": ("5", r"\text{not} = 5"),
    "an inverse as a name": ("5", "x^{-1}=5"),
    "coordinates in another order": ("(1,2)", "(y,x)=(1,2)"),
    "degrees of another scale": (r"25^\circ\text{C}", r"25^\circ\text{F}"),
    "two systems with their values exchanged": ("(1,2),(3,4)", r"x=1,y=4 \text{ or } x=3,y=2"),
    "an inequality of two variables turned round": ("x+y<5", "y>5-x"),
    "a chain that is not worked out": ("46", "40+6=12+34"),
    "a ratio turned round": ("3:2", r"\frac23"),
    "a mixed number behind a blank": ("1100", "1 100/101"),
    "an end beside a hole": (r"\{x \mid x \ge 0 \text{ and } x \ne 1\}", r"\{x \mid x > 0 \text{ and } x \ne 1\}"),
    "an inequality and a tighter one": ("x>1", "x>1, x>3"),
    "an end that only one of two inequalities has": (r"x\ge 1", r"x\ge 1, x>1"),
    "digits that stand in a list": ("1,2,345", "1,2345"),
    "another power of an inverse": ("f^{-1}(x)=2x", "f^{-2}(x)=2x"),
    "an absolute value that is not solved": ("5", "|x|=5"),
    "a sum of unknowns": ("5", "x+y=5"),
    "an equation with zero": ("0", "a^2-5a+6=0"),
    "a function of an unknown": ("5", r"\ln(a)=5"),
    "a factor taken out of a function": ("f(2x)", "2f(x)"),
    "functions in another order": ("f(g(x))", "g(f(x))"),
    "a derivative at another place": ("f'(2x)", "2f'(x)"),
    "coordinates with the names exchanged": ("(n,m)=(3,4)", "m=3, n=4"),
    "a power before another subscript": ("v_0^2", "v^2_1"),
    "a subscript for a power": ("v_0^2", "v_2"),
    "a logarithm of negative numbers": (r"\ln|x|+C", r"\ln x+C"),
    "a solution for positive numbers alone": (r"y=3\ln|x-1|", r"y=3\ln(x-1)"),
    "an argument with its old name in the value": ("f(x)=x+1", "f(t)=x+1"),
    "an argument that is a letter of the value": ("f(x)=ax+1", "f(a)=a^2+1"),
    "another letter of the value": ("f(x)=ax+t", "f(t)=at+t"),
    "a value at a number": ("f(x)=2x+1", "f(2)=2x+1"),
    "another function of another argument": ("f(x)=x+1", "g(t)=t+1"),
    "another value of another argument": ("f(x)=x+1", "f(t)=t+2"),
    "another time of the day": (r"9\text{ a.m.}", "9 p.m."),
    "another minute": ("3:30 pm", "3:31 pm"),
    "a time for a ratio": ("3:30", "3:30 pm"),
    "a ratio for a time": (r"\text{3:30 p.m.}", "1:10"),
    "an hour without its half of the day": (r"9\text{ a.m.}", "9"),
    "noon for midnight": ("12:00 pm", "12:00 am"),
    "factors of a sum exchanged with its index": (r"\sum_{k=0}^{n-1} F_k F_{n-k}", r"\sum_{k=0}^{n-1} F_k F_{n-k-1}"),
    "a function of two Greek letters": (r"\Phi(x,y)=x-y", r"\Phi(x,y)=y-x"),
    "an end of a range": ("0<f(x)<1", "(0,1]"),
    "an inequality of the argument": ("0<f(x)<1", "0<x<1"),
    "an interval for a function of two sides": ("f(x)<g(x)", "(0,1)"),
    "a value that never is": (r"\cos(\theta)=-1.001 \text{ never happens}", r"\cos(\theta)=-1.001"),
    "a fraction with doubled backslashes": (r"\frac{1}{2}", r"\\frac{1}{3}"),
}
"""One example of each kind of answer that once passed, or may pass for lack of a rule."""

KINDS_REFUSED_WRONGLY = {
    "roots with their names": ("1,3", "x=1, x=3"),
    "roots with or": ("1,3", r"x=1 \text{ or } x=3"),
    "roots with subscripts": ("1,3", "x_1=1, x_2=3"),
    "roots in the reference": (r"x=1 \text{ or } x=3", "3, 1"),
    "the roots with a blank": ("40, 200", "200, 40"),
    "plus or minus in a fraction": (r"\frac{-1\pm\sqrt{5}}{2}", r"\frac{-1-\sqrt{5}}{2}, \frac{-1+\sqrt{5}}{2}"),
    "plus or minus in the answer": (r"\frac{-1-\sqrt{5}}{2}, \frac{-1+\sqrt{5}}{2}", r"x=\frac{-1\pm\sqrt{5}}{2}"),
    "an angle": ("60", r"\angle A=60^\circ"),
    "a probability": (r"\frac{1}{2}", r"P(A)=\frac12"),
    "a conditional probability": (r"\frac{1}{2}", r"P(A|B)=\frac12"),
    "a segment": ("5", "AB=5"),
    "a pair of unknowns": ("(1,2)", "(x,y)=(1,2)"),
    "two unknowns": ("(1,2)", "x=1, y=2"),
    "a derivative": ("2x", r"\frac{dy}{dx}=2x"),
    "a function": ("2x+1", "f'(x)=2x+1"),
    "an interval for an inequality": (r"x \ge 5", r"[5,\infty)"),
    "a set builder": (r"[5,\infty)", r"\{x \mid x \ge 5\}"),
    "two inequalities for a union": (r"(-\infty,1)\cup(3,\infty)", r"x<1 \text{ or } x>3"),
    "two inequalities for an interval": ("(1,3)", r"x>1 \text{ and } x<3"),
    "a hole": (r"(-\infty,0)\cup(0,\infty)", r"\mathbb{R}\setminus\{0\}"),
    "all real numbers": (r"(-\infty,\infty)", r"\text{all real numbers}"),
    "a typed root": (r"2\sqrt{3}", "2√3"),
    "a typed power": ("x^2+1", "x²+1"),
    "a typed currency": ("5", "€5"),
    "a typed relation": (r"x\ge 5", "x>=5"),
    "a space at the end": ("2", "2\\,"),
    "an upright e": ("e", r"\mathrm{e}"),
    "a fraction of a letter": (r"\frac{\pi}{2}", r"\frac\pi 2"),
    "a third of a percent": (r"\frac{1}{300}", "1/3%"),
    "a period": (r"\frac{1}{3}", r"0.\overline{3}"),
    "a period of two digits": (r"\frac{4}{33}", r"0.\overline{12}"),
    "a period behind other digits": (r"\frac{7}{6}", r"1.1\overline{6}"),
    "a long period behind several digits": (r"\frac{41049691}{33300000}", r"1.23272\overline{345}"),
    "a noun in brackets": ("9", "9 (apples)"),
    "a unit close to its number": (r"4\text{ m}", "4m"),
    "a sum and its closed form": (r"\sum_{k=1}^{n} k", r"\frac{n(n+1)}{2}"),
    "logarithms to another base": (r"\log_2 3", r"\frac{\ln 3}{\ln 2}"),
    "an identity of functions": (r"2\sin x\cos x", r"\sin 2x"),
    "a column": (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", "(1,2)"),
    "an empty set": (r"\emptyset", r"\{\}"),
    "a line in another form": ("y=2x+3", "2x-y+3=0"),
    "roots of a product": (r"\sqrt{xyz}", r"\sqrt{x}\sqrt{y}\sqrt{z}"),
    "a binomial in factorials": (r"\binom{n}{k}", r"\frac{n!}{k!(n-k)!}"),
    "factorials that seldom have a value": (r"\frac{d!}{2k(d-k)!}", r"\frac{d!}{2(d-k)!\,k}"),
    "the same number, too large to compute": ("(10^{10000}-1)/9", r"\frac{10^{10000}-1}{9}"),
    "a root that has a value for large numbers alone": (r"\sqrt{x-100}", r"\sqrt{-100+x}"),
    "a box in the box": ("5", r"\boxed{5}"),
    "a list in a box": ("1,2", r"\boxed{1,2}"),
    "a number in a text": ("12", r"\text{12}"),
    "a number in upright letters": ("12", r"\mathrm{12}"),
    "an equals sign alone": ("5", "= 5"),
    "an approximate sign in the reference": (r"\approx 17.10", "17.10"),
    "a comment on a fraction": (r"\frac{10}{3}", r"\frac{10}{3} \approx 3.33"),
    "a chain that is worked out": ("46", "12+34=46"),
    "a chain of the reference": (r"\log_2 32=5", r"\log_{2}(32)=5"),
    "a ratio as a fraction": ("3:2", r"\frac32"),
    "a fraction as a ratio": (r"\frac32", "3:2"),
    "blanks between thousands": ("10000", "10 000"),
    "a typed cross": ("1000", "1x10^3"),
    "an ordinal": ("5", r"5^{\text{th}}"),
    "square units": ("5", "5 square units"),
    "miles per hour": ("5 mph", "5 miles per hour"),
    "seconds": ("5 seconds", "5 sec"),
    "a velocity": (r"5.13 \mathrm{ft} / \mathrm{sec}", "5.13"),
    "a temperature": ("25", r"25^\circ\text{C}"),
    "a percentage of a fraction": (r"\frac13", r"33\frac13\%"),
    "a percentage with its digits": (r"\frac13", r"33.3333\%"),
    "endless digits": (r"\pi", r"3.14159\ldots"),
    "a set without backslashes": (r"\{1,2\}", "{1,2}"),
    "a point with its letter": ("(1,2)", "P(1,2)"),
    "a vector of three in other brackets": ("(1,2,3)", "[1,2,3]"),
    "a sum over the name of a variable that is used outside of it": (
        r"(\sum_{k=1}^{n} k) + k",
        r"\frac{n(n+1)}{2} + k",
    ),
    "a number with commas after another one": ("x+5-2345", "x+5-2,345"),
    "a row that is turned": (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", "[1,2]^T"),
    "a matrix as a list of rows": (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", "[[1,2],[3,4]]"),
    "a matrix as an array with its columns": (
        r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}",
        r"\left(\begin{array}{cc} 1 & 2 \\ 3 & 4 \end{array}\right)",
    ),
    "a matrix as an array with a line between its columns": (
        r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}",
        r"\begin{array}{c|c} 1 & 2 \\ 3 & 4 \end{array}",
    ),
    "a factor before a matrix": (
        r"\begin{pmatrix} \frac12 \\ 2 \end{pmatrix}",
        r"\frac12\begin{pmatrix} 1 \\ 4 \end{pmatrix}",
    ),
    "intervals with or": (r"(-\infty,1]\cup[2,\infty)", r"(-\infty,1] \text{ or } [2,\infty)"),
    "a typed union": (r"(-\infty,1]\cup[2,\infty)", "(-inf, 1] U [2, inf)"),
    "two inequalities with a comma": ("(1,3)", "x>1, x<3"),
    "an inequality and its interval": (r"x<-7: (-\infty,-7)", "x<-7"),
    "an inequality of two variables": ("x+y<5", "y<5-x"),
    "two solutions with names": ("(1,2),(3,4)", r"x=1, y=2 \text{ or } x=3, y=4"),
    "no solution": (r"\emptyset", r"\text{no solution}"),
    "a limit that does not exist": (r"\text{DNE}", r"\text{does not exist}"),
    "an eccentricity": (r"\frac12", r"e=\frac12"),
    "a ratio of segments": (r"\frac12", r"\frac{AB}{CD}=\frac12"),
    "a function as y": ("y=2x+3", "f(x)=2x+3"),
    "a typed power of two signs": ("x^2-1", "x**2-1"),
    "another way to write a binomial": (r"\binom{n}{2}", r"{n \choose 2}"),
    "a decadic logarithm": (r"\log_{10} 2", r"\log 2"),
    "an angle with a subscript": (r"\angle BEA_1=90", r"90^\circ"),
    "two primes": (r"y''+y=0", r"y^{\prime\prime}+y=0"),
    "the base ten": ("5", "5_{10}"),
    "a sum of letters": ("5", "m+n=5"),
    "a cosine": (r"\frac35", r"\cos A=\frac35"),
    "a variance": ("5", r"\sigma^2=5"),
    "an integral with its value": ("5", r"\int_0^1 f(x)\,dx=5"),
    "an expectation": ("5", r"\mathbb{E}[X]=5"),
    "a determinant with its value": ("5", r"\det(A)=5"),
    "a value of an inverse": ("5", "f^{-1}(2)=5"),
    "a function of a sum": ("f(x+1)-f(x)", "-f(x)+f(1+x)"),
    "a height that looks like a function": (r"\frac{h(a+b)}{2}", r"\frac12(a+b)h"),
    "a hole in a ray": (r"x\ge 0, x\ne 1", r"[0,1)\cup(1,\infty)"),
    "a hole in an interval": (r"(0,1)\cup(1,2)", r"0<x<2, x\ne 1"),
    "an end with a name": ("(0,a]", r"0<x\le a"),
    "a ray with a name": ("x<a", r"(-\infty,a)"),
    "a set of one point": ("(1,2)", r"\{(1,2)\}"),
    "a sign for or": ("3,-2", r"x=3 \lor x=-2"),
    "names of coordinates": ("m=3, n=4", "(m,n)=(3,4)"),
    "a ratio with a root": (r"\frac{1}{\sqrt2}", r"1:\sqrt{2}"),
    "two inequalities and their intervals": (
        r"k\ge 2 \text{ or } k<0: (-\infty,0)\cup[2,\infty)",
        r"(-\infty,0)\cup[2,\infty)",
    ),
    "a power before its subscript": (r"\frac{v_0^2}{g}", r"\frac{v^2_0}{g}"),
    "a power in braces before its subscript": ("x_1^{10}+1", "1+x^{10}_{1}"),
    "a logarithm of an absolute value": (r"\ln|x|", r"\frac{1}{2}\ln(x^2)"),
    "an absolute value that says nothing": (r"\ln|x^2+1|", r"\ln(1+x^2)"),
    "a function of another argument": ("f(x)=x^2+a", "f(t)=a+t^2"),
    "a derivative of another argument": ("f'(x)=2x", "f'(t)=2t"),
    "a time of the day": (r"\text{3:30 p.m.}", "3:30 PM"),
    "a time in a text": (r"4:30\text{ p.m.}", r"\text{4:30 pm}"),
    "a full hour": (r"9\text{ a.m.}", "9:00 AM"),
    "a full hour with a blank": (r"9\text{ a.m.}", "9 am"),
    "a product that is no time": ("5am", "5ma"),
    "factors of a sum in another order": (r"F_n=\sum_{k=0}^{n-1} F_k F_{n-k-1}", r"F_n=\sum_{k=0}^{n-1} F_{n-k-1} F_k"),
    "a function with a Greek letter": (r"\Phi (x,y)=\frac{x+1}{2y}", r"\Phi (x,  y)=\frac{x}{2y}+\frac{1}{2y}"),
    "a function with another shape of a Greek letter": (r"\phi(x)=x+1", r"\varphi(x)=1+x"),
    "doubled backslashes": (r"\frac{1}{2}+\pi", r"\\dfrac{1}{2}+\\pi"),
    "doubled backslashes in the reference": (r"-2 \\le x \\le 7", r"x \in [-2,7]"),
    "doubled backslashes before braces": (r"\{1,2\}", r"\\{1,2\\}"),
    "an interval for an inequality of a function": ("0<f(x)<1", "(0,1)"),
    "a ray for an inequality of a function": (r"f(x) \ge 2", r"[2,\infty)"),
    "a space that ends at a letter": (r"x_1=1,\quadx_2=2", "1, 2"),
}

NO_NUMBER = [
    "5!", "1+1", "-(-5)", r"\sqrt{4}", r"\frac{1}{0}", "5 or", "not 5", "5 plus 3", "5 or more", "5 half", "1 2",
    "5 6 7", r"5\text{ correct}", "5;6", "5:6", "5xy", "1.2.3", "1..2", "--5", r"\frac{1}{2}3", "10**2", "5_{16}x",
    "5 cents or $5", "", "()", "+", "9" * 401 + "x", "print(5)", r"\input{5}", "5=4", "4=5", "5,5",
]  # fmt: skip
"""Texts that are not 5, whatever they are."""


PIECES = [
    r"\frac", "{", "}", "(", ")", "[", "]", "^", "_", r"\sqrt", "5", "12", "x", "n", "f", "+", "-", "*", "/", ",", ";",
    r"\cup ", r"\text{ or }", "=", "<", r"\le ", r"\pm ", "!", "%", r"^\circ ", r"\sin ", r"\log_", r"\sum_{k=1}^{n} ",
    r"\int ", "|", ":", r"\{", r"\}", r"\mid ", "e", "i", r"\pi ", r"\infty ", "...", "cm", r"\text{m}", " ", "'",
    r"\approx ", r"\in ", r"\mathbb{R}", r"\setminus ", "^T", "&", r"\\", r"\begin{pmatrix}", r"\end{pmatrix}",
    r"\boxed", r"\choose ", r"\prime", "sec", " U ", "th",
]  # fmt: skip
"""What a fuzzer puts together."""


def same(gold: str, answer: str) -> bool:
    try:
        return not difference(read(gold), read(answer))
    except (UnreadableError, TooLargeError):
        return False


def test_equal_values_in_other_notation() -> None:
    for gold, answer in EQUAL:
        assert difference(read(gold), read(answer)) == "", (gold, answer)


def test_different_values() -> None:
    for gold, answer in DIFFERENT:
        assert difference(read(gold), read(answer)) != "", (gold, answer)


def test_no_kind_of_wrong_answer_passes() -> None:
    for kind, (gold, answer) in KINDS_PAID_WRONGLY.items():
        assert not same(gold, answer), kind


def test_every_kind_of_right_answer_passes() -> None:
    for kind, (gold, answer) in KINDS_REFUSED_WRONGLY.items():
        assert difference(read(gold), read(answer)) == "", kind


def test_what_is_not_the_number() -> None:
    for text in NO_NUMBER:
        assert not same("5", text), text


@given(st.fractions(max_denominator=10**6), st.fractions(max_denominator=10**6))
def test_fractions_compare_as_fractions(left: Fraction, right: Fraction) -> None:
    def write(number: Fraction) -> str:
        return rf"{'-' if number < 0 else ''}\frac{{{abs(number.numerator)}}}{{{number.denominator}}}"

    assert same(write(left), write(right)) is (left == right)
    assert same(write(left), str(left)) is True


@given(st.integers(min_value=-(10**30), max_value=10**30), st.integers(min_value=1, max_value=10**6))
def test_integers_compare_as_integers(number: int, off: int) -> None:
    for form in (str(number), f"{number:,}", f"{number:,}".replace(",", "{,}"), f"${number}$", f"{number}.00"):
        assert same(str(number), form) is True
        assert same(str(number + off), form) is False


@given(st.lists(st.sampled_from(PIECES), max_size=12))
def test_nothing_raises_whatever_pieces_are_read(pieces: list[str]) -> None:
    for gold in ("5", r"\{1,2\}", "".join(pieces)):
        same(gold, "".join(pieces))


@pytest.mark.parametrize("text", [r"\{", r"(\{", r"5, \{", r"x \le \{", "{", "[", r"\langle"])
def test_an_opening_bracket_alone_is_unreadable(text: str) -> None:
    with pytest.raises(UnreadableError):
        read(text)


@given(st.text(alphabet="0123456789.,-+/%$ {}()[]\\fractextpi eE^_:=<>|!", max_size=60))
def test_nothing_raises_whatever_is_read(text: str) -> None:
    for gold in ("5", "x+1", r"\{1,2\}", "[1,2)", text):
        same(gold, text)


def test_reading_is_quick_on_long_text() -> None:
    for unit in [
        "\\text{ a",
        "a ",
        "ab",
        "(",
        "\\",
        ",",
        "1,",
        "{",
        "\\frac",
        "1/",
        "^",
        "\\text{}",
        "|",
        "9^",
        "\\sqrt",
        "x!",
    ]:
        start_seconds = time.process_time()
        same("5", (unit * MAX_CHARS)[:MAX_CHARS])
        assert time.process_time() - start_seconds < 2, unit


def test_what_is_too_large_is_not_computed() -> None:
    for answer in [
        "9^{9^{9^{9}}}",
        "10^{10^{10}}",
        "(10^{1000})!",
        r"\sum_{k=1}^{1000000} k^k",
        r"\binom{10^9}{999}",
        r"\sin(10^{99})",
        "2^{x^{1000000}}",
        "2000!!!",
        r"\sqrt[1000000]{x}",
        "((((((((((x+1)^{9})^{9})^{9})^{9})^{9})^{9})^{9})^{9})^{9})^{9}",
        r"\sum_{k=1}^{500} \sum_{j=1}^{500} \sin(\cos(j+k+x))",
    ]:
        start_seconds = time.process_time()
        assert not same(r"\sin 1 + x! + \binom{x}{2} + \sum_{k=1}^{2} k", answer), answer
        assert time.process_time() - start_seconds < 2, answer


def test_a_long_sum_is_compared_quickly() -> None:
    start_seconds = time.process_time()
    for limit in (16, 40):
        sines = rf"\sum_{{i=1}}^{{{limit}}}\sum_{{j=1}}^{{{limit}}}\sin(i+j+x)^{{x}}"
        same(sines, f"{sines}+0")
    assert time.process_time() - start_seconds < 2


def test_longer_text_is_not_read() -> None:
    assert plain_text("1" * MAX_CHARS) is not None
    assert plain_text("1" * (MAX_CHARS + 1)) is None


@pytest.mark.parametrize("text", ["5\x00", "\u200b5", "５", "٥", "5\u202e", "\x1b[31m5", "½"])
def test_invisible_and_foreign_characters_are_no_mathematics(text: str) -> None:
    assert plain_text(text) is None


def test_what_cannot_be_read_says_where() -> None:
    with pytest.raises(UnreadableError, match="from '2' on"):
        read("1 2")
    with pytest.raises(UnreadableError, match="ends too early") as torn:
        read("5 +")
    assert torn.value.is_torn


def test_brackets() -> None:
    assert is_balanced("[1,2)")
    assert not is_balanced("(1")
    assert not is_balanced("1)(")
