#!/bin/sh
# Run once, by PostgreSQL's image, when the volume is new: an owner who migrates and a role that the
# application runs as, neither of them a superuser, and a database of the owner's.
set -eu

psql --set=ON_ERROR_STOP=1 --no-psqlrc --quiet --username="$POSTGRES_USER" --dbname=postgres \
    --set=owner_password="$(cat /run/secrets/owner_password)" \
    --set=app_password="$(cat /run/secrets/app_password)" <<'SQL'
CREATE ROLE dcms_owner LOGIN PASSWORD :'owner_password'
    NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
CREATE ROLE dcms_app LOGIN PASSWORD :'app_password'
    NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
CREATE DATABASE dcms OWNER dcms_owner;
SQL
