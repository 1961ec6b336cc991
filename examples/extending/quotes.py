"""An application like any other: nothing of it knows of the gateway."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request

PRICES = {"oak-table": 420, "pine-chair": 79}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, dict[str, int]]]:
    yield {"prices": dict(PRICES)}  # a pool of connections, say


app = FastAPI(title="Quotes", lifespan=lifespan)


@app.get("/{article}")
async def quote(article: str, request: Request) -> dict[str, str | int]:
    prices = request.state.prices
    if article not in prices:
        raise HTTPException(404, f"there is no {article}")
    return {"article": article, "price": prices[article], "url": str(request.url)}


@app.post("/{article}")
async def ask(article: str, body: dict[str, int]) -> dict[str, str | int]:
    return {"article": article, "total": PRICES.get(article, 0) * body["quantity"]}
