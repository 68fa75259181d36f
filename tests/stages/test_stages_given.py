"""Whatever a user gives to a door of this room: a result, or one line. Never an inner part's error."""
import pytest
from datatrove.data import Document
from odd import Walk

import dclm_nb.stages
from dclm_nb.stages.documents import documents_table, load_documents, save_documents, shards_of_task
from dclm_nb.stages.executors import check_executor

INNER = """
# stages and blocks of our own pipelines, which begin where curate and curate_films have checked what is given
books: Books parts_of WriteReport NeedDocuments Report
decisions: Removal Decide read_removals
documents: replacing json_lines read_lines shard_file save_documents LoadDocuments SaveDocuments
executors: datatrove_logs_to QuietLocalExecutor QuietRayExecutor make_executor
reading: Unreadable ReadShards ReadFiles into_shards
running: pipeline_key sweep watching run_stages submit submitted_before run_pipeline
stage: nothing_wrong Stage forget_all_tasks forget_lost_tasks lost_output
"""


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> dict:
    """Each door with a call that is right: one parameter at a time is then replaced."""
    folder = tmp_path_factory.mktemp("given")
    list(save_documents(folder, [Document("text", "a", metadata={"shard": 0})], [0]))
    return {
        load_documents: dict(folder=folder, shards=None),
        documents_table: dict(folder=folder, shards=None),
        shards_of_task: dict(shards=4, rank=1, world_size=2),
        check_executor: dict(executor="local"),
    }


class TestWalk(Walk):
    room, inner = dclm_nb.stages, INNER
