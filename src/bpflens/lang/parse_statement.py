"""Blocks and statements, and how parsing goes on after an error inside one.

A statement ends with ``;``; ``if`` and bare blocks, loops and the last statement of a block need
none. An ``if`` or a block that stands as a statement appears bare in ``Block.statements``, and a
value at the end of its branches is an ordinary statement; everything else that is only an
expression is wrapped in :class:`~bpflens.lang.nodes.ExprStmt`.

After a syntax error everything up to the end of the statement is skipped, brackets of all kinds
counted, so that the next statement is parsed as if nothing had happened.

Example::

    parser.block(keeps_value=True)      # "{ $a = 1; $a + 1 }" -> Block([Assign(...)], Binary(...))
"""

from __future__ import annotations

from bpflens.lang.lexer import EOF, MAP, NAME, STRING, VARIABLE, Resync
from bpflens.lang.nodes import (
    Assign,
    Block,
    Discard,
    ExprStmt,
    Field,
    ForMap,
    ForRange,
    If,
    Import,
    Jump,
    Let,
    MapAccess,
    MapName,
    Return,
    TupleItem,
    Unroll,
    Variable,
    While,
)
from bpflens.lang.parse_expression import ExpressionParser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from bpflens.lang.nodes import Expr, Node, Stmt, TypeExpr

__all__ = ["StatementParser", "as_statement"]

_ASSIGNMENTS = frozenset(("=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>="))

_IMMUTABLE = (
    "Tuples and records are immutable once created. "
    "Consider creating a new value and assigning it instead."
)


class StatementParser(ExpressionParser):
    """The part of the parser that reads blocks and statements."""

    __slots__ = ()

    def block(self, keeps_value: bool) -> Block:
        """Parse ``{ ... }``, leaving the closing brace as the current token.

        An expression without ``;`` at the end becomes the block's value if ``keeps_value`` is set,
        else one more statement.
        """
        start = self.start
        if self.kind != "{":
            raise self.fail("expected '{'")
        operators, depth = self.operators, self.depth
        self.advance()
        statements: list[Stmt] = []
        result: Expr | None = None
        while self.kind != "}" and self.kind != EOF:
            self.operators = 0
            try:
                result = self._statement(statements)
            except Resync:
                self.depth = depth
                self._skip_statement()
            self.panic = False
        self.operators = operators
        if self.kind == EOF:
            self._unclosed(start)
        if result is not None and not keeps_value:
            statements.append(as_statement(result))
            result = None
        return Block(statements, result, start, self.end)

    # One statement is appended to the list; a value that ends the block is returned instead.

    def _statement(self, statements: list[Stmt]) -> Expr | None:
        kind = self.kind
        if kind == NAME:
            read = _STATEMENTS.get(self.value)
            if read is not None and (self.value != "_" or self.peek() == "="):
                statement = read(self)
                if statement is not None:
                    statements.append(statement)
                    return None
        elif kind == ";":
            # An empty statement, as behind the "}" of an if.
            self.advance()
            return None
        start = self.start
        node: Expr | None = None
        if kind == "{" or (kind == NAME and self.value == "if"):
            node = self.primary()
            if self.kind in ("++", "--"):  # the next statement, as "if (c) { ... } ++$x;"
                statements.append(as_statement(node))
                return None
            node = self.postfix(node)
        node = self.expression(node)
        if self.kind in _ASSIGNMENTS:
            statements.append(self._assignment(node, start))
            return None
        if self.kind == "}":
            if isinstance(node, If) and _lacks_else(node):
                statements.append(as_statement(node))
                return None
            return node
        if self.kind == ";":
            self.advance()
        elif not isinstance(node, If | Block):
            raise self.fail("expected ';'")
        statements.append(as_statement(node))
        return None

    def _assignment(self, target: Expr, start: int) -> Stmt:
        operator = self.kind
        self.advance()
        value = self.expression()
        end = self.last_end
        if isinstance(target, Field | TupleItem):
            self.report(_IMMUTABLE, start, end)
        elif not isinstance(target, Variable | MapName | MapAccess):
            self.report("invalid assignment target", start, end)
        self._end()
        return Assign(target, operator, value, start, end)

    def _end(self) -> None:
        if self.kind == ";":
            self.advance()
        elif self.kind != "}":
            raise self.fail("expected ';'")

    # statements that begin with a keyword

    def _import(self) -> Stmt:
        node = self.import_()
        self.advance()
        return node

    def import_(self) -> Import:
        """Parse ``import "path";``, leaving the ``;`` as the current token."""
        start = self.start
        self.advance()
        if self.kind != STRING:
            raise self.fail("expected string after 'import'")
        path, end = self.value, self.end
        self.advance()
        if self.kind != ";":
            raise self.fail("expected ';' after import")
        return Import(path, start, end)

    def _let(self) -> Stmt:
        start = self.start
        self.advance()
        if self.kind != VARIABLE:
            raise self.fail("expected variable after 'let'")
        name = self.value
        self.advance()
        kind: TypeExpr | None = None
        value: Expr | None = None
        if self.kind == ":":
            self.advance()
            kind = self.type()
        if self.kind == "=":
            self.advance()
            value = self.expression()
        end = self.last_end
        self._end()
        return Let(name, kind, value, start, end)

    def _discard(self) -> Stmt | None:
        state, start = self.save(), self.start
        self.advance()
        if self.kind != "=":  # "_ == 1" compares something that is called "_"
            self.restore(state)
            return None
        self.advance()
        value = self.expression()
        end = self.last_end
        self._end()
        return Discard(value, start, end)

    def _return(self) -> Stmt:
        start = self.start
        self.advance()
        value = None if self.kind in (";", "}") else self.expression()
        end = self.last_end
        self._end()
        return Return(value, start, end)

    def _jump(self) -> Stmt:
        node = Jump(self.value, self.start, self.end)
        self.advance()
        self._end()
        return node

    def _while(self) -> Stmt:
        start = self.start
        self.advance()
        condition = self.condition()
        body = self._body()
        return While(condition, body, start, body.end)

    def _unroll(self) -> Stmt:
        start = self.start
        self.advance()
        count = self.expression()
        body = self._body()
        return Unroll(count, body, start, body.end)

    def _for(self) -> Stmt:
        start = self.start
        self.advance()
        parenthesis = self.kind == "("
        if parenthesis:
            self.advance()
        if self.kind != VARIABLE:
            raise self.fail("expected variable in for loop")
        name = self.value
        self.advance()
        self.expect(":")
        first = self.map() if self.kind == MAP else self.binary(1)
        if isinstance(first, MapName) and self.kind != "..":
            if parenthesis:
                self.expect(")")
            body = self._body()
            return ForMap(name, first, body, start, body.end)
        if isinstance(first, MapAccess):
            first = self.binary(1, self.postfix(first))
        if self.kind != "..":
            raise self.fail("expected map or range in for loop")
        self.advance()
        stop = self.binary(1)
        if parenthesis:
            self.expect(")")
        body = self._body()
        return ForRange(name, first, stop, body, start, body.end)

    def _body(self) -> Block:
        self.enter()
        body = self.block(keeps_value=False)
        self.depth -= 1
        self.advance()
        return body

    # errors

    def _unclosed(self, start: int) -> None:
        # After other errors the braces no longer tell anything.
        if self.error_count == 0:
            self.report("expected '}'", self.start, self.end)
            note = "this block is not closed"
            self.diagnostics.items[-1].notes.append((note, start, start + 1))

    def _skip_statement(self) -> None:
        # To what follows the ";" of this statement, or to the "}" of its block.
        self.panic = True  # no complaints about tokens that nobody reads
        depth = 0
        while self.kind != EOF:
            kind = self.kind
            if kind == "{":
                depth += 1
            elif kind == "}":
                if depth == 0:
                    return
                depth -= 1
            if depth == 0 and kind in (";", "}"):
                self.panic = False
                self.advance()
                return
            self.advance()


def as_statement(node: Expr) -> Stmt:
    """Return an expression as a statement; values that its branches end with become statements."""
    if isinstance(node, Block):
        if node.result is not None:
            node.statements.append(as_statement(node.result))
            node.result = None
        return node
    if isinstance(node, If):
        branch: Block | If | None = node
        while isinstance(branch, If):
            as_statement(branch.then)
            branch = branch.otherwise
        if branch is not None:
            as_statement(branch)
        return node
    return ExprStmt(node, node.start, node.end)


def _lacks_else(node: If) -> bool:
    branch: Node | None = node
    while isinstance(branch, If):
        branch = branch.otherwise
    return branch is None


_STATEMENTS: dict[str, Callable[[StatementParser], Stmt | None]] = {
    "_": StatementParser._discard,
    "break": StatementParser._jump,
    "continue": StatementParser._jump,
    "for": StatementParser._for,
    "import": StatementParser._import,
    "let": StatementParser._let,
    "return": StatementParser._return,
    "unroll": StatementParser._unroll,
    "while": StatementParser._while,
}
