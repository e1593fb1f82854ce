# One image for every process; the command says which. It holds no server and no secret.

FROM python:3.12-slim AS build
RUN pip install --no-cache-dir uv
WORKDIR /app
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
# The libraries change less often than the code: they are a layer of their own.
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN uv sync --frozen --no-dev --no-install-project
COPY manage.py ./
COPY codespar ./codespar
COPY wallets ./wallets
COPY mandates ./mandates
COPY ledger ./ledger
COPY rails ./rails
RUN uv sync --frozen --no-dev --no-editable

FROM python:3.12-slim
RUN groupadd --system --gid 10001 codespar \
    && useradd --system --uid 10001 --gid codespar --home-dir /app --shell /usr/sbin/nologin codespar \
    && install -d -o codespar -g codespar -m 0700 /var/lib/codespar /var/lib/bank
COPY --from=build /app /app
WORKDIR /app
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 DJANGO_SETTINGS_MODULE=codespar.settings
USER codespar
EXPOSE 8000
STOPSIGNAL SIGTERM
CMD ["granian", "--interface", "wsgi", "codespar.wsgi:application", "--host", "0.0.0.0", "--port", "8000", \
     "--no-ws", "--blocking-threads", "96", "--respawn-failed-workers"]
