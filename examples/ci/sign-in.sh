#!/usr/bin/env bash
# Signs a job of GitHub Actions in to a cloud by its identity, without stored credentials. The job needs the permission
# `id-token: write`; later steps use what is written to $GITHUB_ENV. docs/how-to/run-in-ci.md says what the cloud needs.
set -euo pipefail

# Writes a token for an audience into a file, and prints its path.
token() {
  local file="$RUNNER_TEMP/identity"
  (umask 077; curl -sSf --retry 3 -H "Authorization: bearer $ACTIONS_ID_TOKEN_REQUEST_TOKEN" \
    "$ACTIONS_ID_TOKEN_REQUEST_URL&audience=$1" | jq -er .value >"$file")
  echo "$file"
}

case "$CLOUD" in
  aws)
    {
      echo "AWS_WEB_IDENTITY_TOKEN_FILE=$(token sts.amazonaws.com)"
      echo "AWS_ROLE_ARN=$AWS_ROLE"
      echo "AWS_REGION=$AWS_REGION"
    } >>"$GITHUB_ENV"
    ;;
  gcp)
    file=$(token "https://iam.googleapis.com/$GCP_PROVIDER")
    credentials="$RUNNER_TEMP/credentials.json"
    jq -n --arg file "$file" --arg provider "$GCP_PROVIDER" --arg account "$GCP_ACCOUNT" '{
      type: "external_account",
      audience: "//iam.googleapis.com/\($provider)",
      subject_token_type: "urn:ietf:params:oauth:token-type:jwt",
      token_url: "https://sts.googleapis.com/v1/token",
      service_account_impersonation_url:
        "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/\($account):generateAccessToken",
      credential_source: {file: $file}
    }' >"$credentials"
    gcloud auth login --brief --cred-file "$credentials"
    echo "GOOGLE_APPLICATION_CREDENTIALS=$credentials" >>"$GITHUB_ENV"
    ;;
  azure)
    az login --output none --service-principal --username "$AZURE_CLIENT" --tenant "$AZURE_TENANT" \
      --federated-token "$(cat "$(token api://AzureADTokenExchange)")"
    az account set --subscription "$AZURE_SUBSCRIPTION"
    ;;
  *)
    echo "CLOUD is '$CLOUD', not aws, gcp or azure" >&2
    exit 1
    ;;
esac
