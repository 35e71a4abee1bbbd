# One image for all parts of Airflow and for Celery workers; docker-compose.yml says which part a container is.
FROM python:3.11-slim-bookworm AS build
# LightGBM needs OpenMP at run time; everything else comes as wheels
RUN apt-get update && apt-get install --yes --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/baton
WORKDIR /src
COPY requirements-production.lock ./
RUN /opt/baton/bin/pip install --no-deps --require-hashes -r requirements-production.lock
COPY pyproject.toml README.md LICENSE ./
COPY include include
RUN /opt/baton/bin/pip install --no-deps . && /opt/baton/bin/python -m compileall -q -j 0 /opt/baton/lib || true
RUN /opt/baton/bin/baton --help > /dev/null

FROM python:3.11-slim-bookworm
RUN apt-get update \
  && apt-get install --yes --no-install-recommends libgomp1 tini \
  && rm -rf /var/lib/apt/lists/* \
  && useradd --uid 50000 --create-home --home-dir /var/lib/baton --shell /usr/sbin/nologin baton
COPY --from=build /opt/baton /opt/baton
COPY --chown=root:root dags /opt/project/dags
COPY --chown=root:root plugins /opt/project/plugins
ENV PATH=/opt/baton/bin:$PATH \
    AIRFLOW_HOME=/var/lib/baton/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/project/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/project/plugins \
    BATON_HOME=/var/lib/baton \
    BATON_PROJECT=/opt/project \
    DO_NOT_TRACK=1 GX_ANALYTICS_ENABLED=false MLFLOW_DISABLE_TELEMETRY=true
USER baton
WORKDIR /var/lib/baton
# a new volume takes the owner of the folder that it covers
RUN umask 077 && chmod 700 . && mkdir -p airflow/logs keys ledger mlflow reports store
# tini passes TERM on and reaps what tasks leave behind
ENTRYPOINT ["tini", "--"]
CMD ["baton", "--help"]
