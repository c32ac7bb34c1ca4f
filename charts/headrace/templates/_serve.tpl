{{/*
The Serve document, the same as serving.config.serve_document.serve_document makes it: a test compares the two for many
configurations. Values hold a ServingConfig and a Catalog as they stand; what they leave out is filled in from
files/serving.schema.json, which is made from those classes.
*/}}

{{/* JSON of {"v": value}, with every default filled in; dict node (its JSON Schema), defs, value. */}}
{{- define "headrace.fill" -}}
{{- $defs := .defs -}}
{{- $node := .node -}}
{{- $value := .value -}}
{{- if hasKey $node "$ref" -}}
{{- include "headrace.fill" (dict "node" (get $defs (get $node "$ref" | trimPrefix "#/$defs/")) "defs" $defs "value" $value) -}}
{{- else if and (hasKey $node "discriminator") (kindIs "map" $value) -}}
{{- $ref := get $node.discriminator.mapping (get $value $node.discriminator.propertyName) -}}
{{- include "headrace.fill" (dict "node" (dict "$ref" $ref) "defs" $defs "value" $value) -}}
{{- else if and (hasKey $node "anyOf") (kindIs "map" $value) -}}
{{- $chosen := dict -}}
{{- range $node.anyOf -}}
{{- if hasKey . "$ref" -}}{{- $chosen = . -}}{{- end -}}
{{- end -}}
{{- include "headrace.fill" (dict "node" $chosen "defs" $defs "value" $value) -}}
{{- else if and (hasKey $node "oneOf") (kindIs "map" $value) -}}
{{- /* The required fields distinguish the branches. */ -}}
{{- $chosen := dict -}}
{{- range $node.oneOf -}}
{{- $branch := . -}}
{{- $fits := hasKey $branch "$ref" -}}
{{- if $fits -}}
{{- range (get $defs (get $branch "$ref" | trimPrefix "#/$defs/")).required -}}
{{- if not (hasKey $value .) -}}{{- $fits = false -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- if $fits -}}{{- $chosen = $branch -}}{{- end -}}
{{- end -}}
{{- include "headrace.fill" (dict "node" $chosen "defs" $defs "value" $value) -}}
{{- else if and (kindIs "map" $value) (hasKey $node "properties") -}}
{{- $out := deepCopy $value -}}
{{- range $name, $field := $node.properties -}}
{{- if hasKey $value $name -}}
{{- $filled := include "headrace.fill" (dict "node" $field "defs" $defs "value" (get $value $name)) | fromJson -}}
{{- $_ := set $out $name $filled.v -}}
{{- else if hasKey $field "default" -}}
{{- $_ := set $out $name $field.default -}}
{{- end -}}
{{- end -}}
{{- dict "v" $out | toJson -}}
{{- else if and (kindIs "map" $value) (kindIs "map" $node.additionalProperties) -}}
{{- $out := dict -}}
{{- range $name, $each := $value -}}
{{- $filled := include "headrace.fill" (dict "node" $node.additionalProperties "defs" $defs "value" $each) | fromJson -}}
{{- $_ := set $out $name $filled.v -}}
{{- end -}}
{{- dict "v" $out | toJson -}}
{{- else if and (kindIs "slice" $value) (hasKey $node "items") -}}
{{- $out := list -}}
{{- range $value -}}
{{- $filled := include "headrace.fill" (dict "node" $node.items "defs" $defs "value" .) | fromJson -}}
{{- $out = append $out $filled.v -}}
{{- end -}}
{{- dict "v" $out | toJson -}}
{{- else -}}
{{- dict "v" $value | toJson -}}
{{- end -}}
{{- end -}}

{{/* JSON of {"serving": ServingConfig, "catalog": Catalog}, complete. */}}
{{- define "headrace.configuration" -}}
{{- $schema := .Files.Get "files/serving.schema.json" | fromJson -}}
{{- $defs := get $schema "$defs" -}}
{{- $given := .Values.serving -}}
{{- if not (hasKey $given "multiprocess_dir") -}}
{{- $given = merge (dict "multiprocess_dir" (include "headrace.metricsFolder" .)) $given -}}
{{- end -}}
{{- $serving := (include "headrace.fill" (dict "node" (dict "$ref" "#/$defs/ServingConfig") "defs" $defs "value" $given) | fromJson).v -}}
{{- $catalog := (include "headrace.fill" (dict "node" (dict "$ref" "#/$defs/Catalog") "defs" $defs "value" .Values.catalog) | fromJson).v -}}
{{- /* Removes trailing slashes like the Python classes, so that the text is the same. */ -}}
{{- $_ := set $serving.store "data" (regexReplaceAll "/+$" $serving.store.data "" | default "/") -}}
{{- range $catalog.models -}}
{{- if get . "url" -}}{{- $_ := set . "url" (regexReplaceAll "/+$" .url "") -}}{{- end -}}
{{- end -}}
{{- dict "serving" $serving "catalog" $catalog | toJson -}}
{{- end -}}

{{/* JSON of a deployment's size and actor options; dict hosted (gateway, retrieval or a model), gpus (of a replica). */}}
{{- define "headrace.deployment" -}}
{{- $actor := dict "num_cpus" .hosted.cpus "label_selector" (dict "headrace.io/pool" .hosted.pool) -}}
{{- if .gpus -}}{{- $_ := set $actor "num_gpus" .gpus -}}{{- end -}}
{{- if .hosted.autoscaling -}}
{{- if get .hosted.autoscaling "measured" -}}
{{- fail "autoscaling.measured is for Pulumi, which computes the target: set autoscaling.target_ongoing_requests to what `python -m monitoring.autoscaling` prints" -}}
{{- end -}}
{{- $scaling := omit .hosted.autoscaling "measured" -}}
{{- if not (get $scaling "target_ongoing_requests") -}}{{- $_ := set $scaling "target_ongoing_requests" 2 -}}{{- end -}}
{{- dict "autoscaling_config" $scaling "ray_actor_options" $actor | toJson -}}
{{- else -}}
{{- dict "num_replicas" .hosted.replicas "ray_actor_options" $actor | toJson -}}
{{- end -}}
{{- end -}}

{{- define "headrace.serveEnvironment" -}}
{{- $env := dict "HEADRACE_BUILD" (include "headrace.build" .) "PROMETHEUS_MULTIPROC_DIR" (include "headrace.metricsFolder" .) -}}
{{- with .Values.secrets.revision -}}{{- $_ := set $env "HEADRACE_SECRETS_REVISION" . -}}{{- end -}}
{{- $env | toJson -}}
{{- end -}}

{{/* JSON of the Serve document. */}}
{{- define "headrace.serveDocument" -}}
{{- $configuration := include "headrace.configuration" . | fromJson -}}
{{- $serving := $configuration.serving -}}
{{- $catalog := $configuration.catalog -}}
{{- $env := include "headrace.serveEnvironment" . | fromJson -}}
{{- $drain := 600 -}}
{{- /* Only Serve needs the placement: in the replicas' configuration, its changes would restart them. */ -}}
{{- $args := deepCopy $serving -}}
{{- range list "gateway" "retrieval" -}}
{{- $_ := set $args . (omit (get $serving .) "pool" "autoscaling") -}}
{{- end -}}
{{- $models := list -}}
{{- $applications := list -}}
{{- range $catalog.models -}}
{{- $model := omit . "pool" "autoscaling" -}}
{{- $models = append $models (omit . "pool" "archive") -}}
{{- if has .engine (list "llamacpp" "vllm" "app") -}}
{{- $vllm := eq .engine "vllm" -}}
{{- /* Replicas do not need settings for the fit check, rollouts and the gateway. */ -}}
{{- $told := omit $model "access" "answer_tokens" "embedding" "full_context_requests" "geometry" "grounded" "max_surge_percent" "objectives" "price" "repeat_penalty" "tools" -}}
{{- if hasKey $told "loras" -}}
{{- $loras := list -}}
{{- range $told.loras -}}{{- $loras = append $loras (omit . "access") -}}{{- end -}}
{{- $_ := set $told "loras" $loras -}}
{{- end -}}
{{- if get $told "adapters" -}}{{- $_ := set $told "adapters" (omit $told.adapters "per_tenant") -}}{{- end -}}
{{- $arguments := dict "model" $told "multiprocess_dir" $serving.multiprocess_dir -}}
{{- /* The hub's adapters are in the store. */ -}}
{{- if get . "adapters" -}}{{- $_ := set $arguments "store" $serving.store -}}{{- end -}}
{{- $gpus := 0 -}}{{- if $vllm -}}{{- $gpus = mul .tensor_parallel .pipeline_parallel -}}{{- end -}}
{{- $deployment := merge (dict
      "name" .name
      "max_ongoing_requests" (mul 2 (.max_num_seqs | default .slots | default .runs))
      "graceful_shutdown_timeout_s" $drain
      "max_surge_percent" (ternary .max_surge_percent 100 $vllm)
    ) (include "headrace.deployment" (dict "hosted" . "gpus" $gpus) | fromJson) -}}
{{- $applications = append $applications (dict
      "name" (printf "model-%s" .name)
      "route_prefix" nil
      "import_path" "serving.app:model_application"
      "args" $arguments
      "runtime_env" (dict "env_vars" $env)
      "deployments" (list $deployment)
    ) -}}
{{- end -}}
{{- end -}}
{{- $user := deepCopy $catalog -}}
{{- $_ := set $user "models" $models -}}
{{- $gateway := merge (dict
      "name" "Gateway"
      "max_ongoing_requests" (mul 4 (add $serving.limits.in_flight $serving.limits.queue))
      "graceful_shutdown_timeout_s" $drain
      "max_surge_percent" 100
      "user_config" $user
      "logging_config" (dict "enable_access_log" false "encoding" "JSON" "log_level" "WARNING")
    ) (include "headrace.deployment" (dict "hosted" $serving.gateway) | fromJson) -}}
{{- $retrieval := merge (dict
      "name" "Retrieval"
      "max_ongoing_requests" 64
      "max_surge_percent" 100
      "user_config" (dict "models" $models "search" $catalog.search)
    ) (include "headrace.deployment" (dict "hosted" $serving.retrieval) | fromJson) -}}
{{- $application := dict
      "name" "headrace"
      "route_prefix" "/"
      "import_path" "serving.app:gateway_application"
      "args" $args
      "runtime_env" (dict "env_vars" $env)
      "deployments" (list $gateway $retrieval) -}}
{{- dict
      "proxy_location" "EveryNode"
      "logging_config" (dict "enable_access_log" false "encoding" "JSON")
      "http_options" (dict "host" "0.0.0.0" "port" 8000)
      "applications" (prepend $applications $application)
    | toPrettyJson -}}
{{- end -}}
