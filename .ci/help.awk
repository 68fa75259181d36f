# Prints the commented targets of a Makefile in groups: `##@ Group`, `target: ... ## [make example: ]what it does`.
/^##@ / { order[++groups] = substr($0, 5); next }
/^[a-z%-]+:.*  ## / {
    text = $0; sub(/^.*  ## /, "", text)
    example = "make " $0; sub(/:.*/, "", example)
    if (text ~ /^make [^:]+: /) { example = text; sub(/: .*/, "", example); sub(/^make [^:]+: /, "", text) }
    lines[groups] = lines[groups] sprintf("  %-37s %s\n", example, text)
}
END { for (i = 1; i <= groups; i++) printf "\n%s\n%s", order[i], lines[i] }
